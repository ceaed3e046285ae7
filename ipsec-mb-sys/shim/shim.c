/* See shim.h. */
#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct gcm_key_data) == VX_IMB_GCM_KEY_SIZE, "the size of gcm_key_data is another");
_Static_assert(sizeof(struct gcm_context_data) <= VX_IMB_GCM_CONTEXT_SIZE, "gcm_context_data is larger");

#define SONAME "libIPSec_MB.so.1"
/* Major and minor: structures may change with these. */
#define RELEASE(version) ((version) >> 8)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int outcome = VX_IMB_MISSING;
static unsigned int version;
static IMB_MGR *(*allocate)(uint64_t flags);
static void (*release)(IMB_MGR *manager);
static void (*initialise)(IMB_MGR *manager, IMB_ARCH *architecture);
static void (*initialise_sse)(IMB_MGR *manager);
static IMB_MGR *stateless;
static IMB_ARCH architecture;

static IMB_MGR *manager_new(IMB_ARCH *found)
{
	IMB_MGR *manager = allocate(0);

	if (manager == NULL)
		return NULL;
	*found = IMB_ARCH_NONE;
	initialise(manager, found);
	if (*found == IMB_ARCH_NONE || *found == IMB_ARCH_NOAESNI || manager->imb_errno != 0) {
		release(manager);
		return NULL;
	}
	return manager;
}

static void open_library(void)
{
	unsigned int (*get_version)(void);
	void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);

	if (library == NULL)
		return;
	outcome = VX_IMB_SYMBOL;
	*(void **)&get_version = dlsym(library, "imb_get_version");
	*(void **)&allocate = dlsym(library, "alloc_mb_mgr");
	*(void **)&release = dlsym(library, "free_mb_mgr");
	*(void **)&initialise = dlsym(library, "init_mb_mgr_auto");
	*(void **)&initialise_sse = dlsym(library, "init_mb_mgr_sse");
	if (get_version == NULL || initialise_sse == NULL || allocate == NULL || release == NULL || initialise == NULL)
		return;
	version = get_version();
	if (RELEASE(version) != RELEASE(IMB_VERSION_NUM)) {
		outcome = VX_IMB_VERSION;
		return;
	}
	stateless = manager_new(&architecture);
	outcome = stateless == NULL ? VX_IMB_UNSUPPORTED : VX_IMB_OK;
}

int vx_imb_open(struct vx_imb_functions *functions)
{
	pthread_once(&once, open_library);
	functions->version = version;
	if (outcome != VX_IMB_OK)
		return outcome;
	functions->gcm128_seal = (vx_imb_gcm)stateless->gcm128_enc;
	functions->gcm128_open = (vx_imb_gcm)stateless->gcm128_dec;
	functions->gcm256_seal = (vx_imb_gcm)stateless->gcm256_enc;
	functions->gcm256_open = (vx_imb_gcm)stateless->gcm256_dec;
	functions->gcm128_expand = (vx_imb_expand)stateless->gcm128_pre;
	functions->gcm256_expand = (vx_imb_expand)stateless->gcm256_pre;
	functions->aes128_schedule = stateless->keyexp_128;
	functions->aes256_schedule = stateless->keyexp_256;
	functions->sha1_one_block = stateless->sha1_one_block;
	functions->architecture = architecture == IMB_ARCH_AVX512 ? 4
				  : architecture == IMB_ARCH_AVX2 ? 3
				  : architecture == IMB_ARCH_AVX  ? 2
								  : 1;
	return VX_IMB_OK;
}

/* Two managers: the widest one hashes sixteen packets of one length side by side; what does not come in sixteens is
 * faster on the one that hashes two at a time with the SHA instructions (bench/crypto-comparison). */
struct batch {
	IMB_MGR *widest;
	IMB_MGR *narrow;
	IMB_JOB jobs[VX_IMB_MAX_BURST];
};

#define LANES 16

void *vx_imb_batch_new(void)
{
	IMB_ARCH found;
	struct batch *batch;

	if (outcome != VX_IMB_OK)
		return NULL;
	batch = aligned_alloc(64, (sizeof(*batch) + 63) & ~(size_t)63);
	if (batch == NULL)
		return NULL;
	memset(batch, 0, sizeof(*batch));
	batch->widest = manager_new(&found);
	batch->narrow = batch->widest == NULL ? NULL : allocate(0);
	if (batch->narrow == NULL) {
		if (batch->widest != NULL)
			release(batch->widest);
		free(batch);
		return NULL;
	}
	initialise_sse(batch->narrow);
	for (unsigned int i = 0; i < VX_IMB_MAX_BURST; i++) {
		IMB_JOB *job = &batch->jobs[i];

		job->iv_len_in_bytes = 16;
		/* The library writes 12 or 20 octets, whatever else it is asked for. */
		job->auth_tag_output_len_in_bytes = VX_IMB_TAG_SIZE;
		job->cipher_mode = IMB_CIPHER_CNTR;
		job->cipher_direction = IMB_DIR_ENCRYPT;
		job->hash_alg = IMB_AUTH_HMAC_SHA_1;
		job->chain_order = IMB_ORDER_CIPHER_HASH;
	}
	return batch;
}

void vx_imb_batch_free(void *state)
{
	struct batch *batch = state;

	release(batch->widest);
	release(batch->narrow);
	free(batch);
}

void vx_imb_hmac(void *state, const struct vx_imb_counter_hmac *packets, unsigned int count)
{
	struct batch *batch = state;
	unsigned int wide = count - count % LANES;

	for (unsigned int i = 0; i < count; i++) {
		IMB_JOB *job = &batch->jobs[i];

		job->src = packets[i].packet;
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = packets[i].authenticated_len;
		job->auth_tag_output = packets[i].tag;
		job->u.HMAC._hashed_auth_key_xor_ipad = packets[i].inner;
		job->u.HMAC._hashed_auth_key_xor_opad = packets[i].outer;
		/* Lanes of different lengths wait for each other. */
		if ((packets[i].authenticated_len + 8) / 64 != (packets[0].authenticated_len + 8) / 64)
			wide = 0;
	}
	if (wide != 0)
		IMB_SUBMIT_HASH_BURST_NOCHECK(batch->widest, batch->jobs, wide, IMB_AUTH_HMAC_SHA_1);
	if (wide != count)
		IMB_SUBMIT_HASH_BURST_NOCHECK(batch->narrow, batch->jobs + wide, count - wide, IMB_AUTH_HMAC_SHA_1);
}

void vx_imb_counter(void *state, const struct vx_imb_counter_hmac *packet)
{
	struct batch *batch = state;
	IMB_JOB *job = &batch->jobs[0];

	job->enc_keys = packet->round_keys;
	job->key_len_in_bytes = packet->key_len;
	job->src = packet->packet;
	job->dst = packet->packet + packet->cipher_start;
	job->cipher_start_src_offset_in_bytes = packet->cipher_start;
	job->msg_len_to_cipher_in_bytes = packet->cipher_len;
	job->iv = packet->counter;
	IMB_SUBMIT_CIPHER_BURST_NOCHECK(batch->widest, job, 1, IMB_CIPHER_CNTR, IMB_DIR_ENCRYPT,
					packet->key_len == 16 ? IMB_KEY_128_BYTES : IMB_KEY_256_BYTES);
}
