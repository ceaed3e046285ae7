/* The variants over DPDK's cryptodev: crypto_aesni_gcm and crypto_aesni_mb, by
 * enqueue and dequeue and by CPU crypto. Both drivers stand on intel-ipsec-mb. */
#include <rte_cryptodev.h>
#include <rte_errno.h>
#include <rte_mempool.h>

#include "compare.h"

#define IV_OFFSET (sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op))
#define TAG_AT (RTP_HEADER + PAYLOAD)

static inline void prefetch_object(const struct variant *v, const char *session)
{
	switch (v->prefetch) {
	case PREFETCH_NONE:
		break;
	case PREFETCH_WHOLE:
		prefetch_range(session, v->session_bytes);
		break;
	default: /* all before the key (headers and fields), then the key's own */
		prefetch_range(session, v->key_offset);
		prefetch_gcm_key(session + v->key_offset, v->prefetch);
		/* the key's last bytes share their line with the fields after it */
		rte_prefetch0(session + v->key_offset + sizeof(struct gcm_key_data));
		break;
	}
}

/* The ops are kept from burst to burst; what varies by packet is set anew. */
static inline void fill_op(const struct variant *v, struct packet *p, void *session,
			   uint32_t index, uint32_t i, bool seal)
{
	struct rte_crypto_op *op = p->op;
	struct rte_crypto_sym_op *sym = op->sym;
	op->status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
	make_iv(rte_crypto_op_ctod_offset(op, uint8_t *, IV_OFFSET), index, i);
	sym->m_src = p->mbuf;
	sym->session = session;
	if (v->suite == SUITE_GCM) {
		sym->aead.data.offset = RTP_HEADER;
		sym->aead.data.length = PAYLOAD;
		sym->aead.aad.data = p->rtp;
		sym->aead.digest.data = p->rtp + TAG_AT;
	} else {
		if (seal)
			put_roc(p);
		else
			swap_tag_for_roc(p);
		sym->cipher.data.offset = RTP_HEADER;
		sym->cipher.data.length = PAYLOAD;
		sym->auth.data.offset = 0;
		sym->auth.data.length = TAG_AT + ROC_BYTES;
		sym->auth.digest.data = seal ? p->rtp + TAG_AT : p->arrived;
	}
}

static inline void queue_stage(const struct variant *v, const uint32_t *seq, unsigned n,
			       bool seal)
{
	void **sessions = seal ? v->seal_sessions : v->open_sessions;
	void **next_sessions = seal ? v->open_sessions : v->seal_sessions;
	const uint32_t *next = seal ? seq : seq + n;
	struct rte_crypto_op *ops[MAX_BURST];
	for (unsigned i = 0; i < n; i++) {
		if (!v->spread)
			prefetch_object(v, next_sessions[next[i]]);
		fill_op(v, &packets[i], sessions[seq[i]], seq[i], i, seal);
		ops[i] = packets[i].op;
	}
	unsigned taken = rte_cryptodev_enqueue_burst(v->dev, 0, ops, n);
	if (taken != n)
		die("%s: the device took %u of %u operations", v->name, taken, n);
	/* These devices do the work when they are polled: operation by operation, with
	 * a prefetch before each, if spread. */
	for (unsigned i = 0; v->spread && i < n; i++) {
		unsigned at = i + AHEAD;
		prefetch_object(v, at < n ? sessions[seq[at]] : next_sessions[next[at - n]]);
		if (rte_cryptodev_dequeue_burst(v->dev, 0, ops, 1) != 1)
			die("%s: the device keeps operation %u", v->name, i);
	}
	for (unsigned done = v->spread ? n : 0, polls = 0; done < n; polls++) {
		if (polls > 1000)
			die("%s: the device keeps %u operations", v->name, n - done);
		done += rte_cryptodev_dequeue_burst(v->dev, 0, ops, n - done);
	}
	for (unsigned i = 0; i < n; i++)
		auth_failures += packets[i].op->status != RTE_CRYPTO_OP_STATUS_SUCCESS;
}

static void queue_seal(const struct variant *v, const uint32_t *seq, unsigned n)
{
	queue_stage(v, seq, n, true);
}

static void queue_open(const struct variant *v, const uint32_t *seq, unsigned n)
{
	queue_stage(v, seq, n, false);
}

/* CPU crypto takes one session a call: with packets of random sessions, that is
 * one packet a call. */
static inline void cpu_stage(const struct variant *v, const uint32_t *seq, unsigned n,
			     bool seal)
{
	void **sessions = seal ? v->seal_sessions : v->open_sessions;
	void **next_sessions = seal ? v->open_sessions : v->seal_sessions;
	const uint32_t *next = seal ? seq : seq + n;
	bool gcm = v->suite == SUITE_GCM;
	union rte_crypto_sym_ofs offsets = { .raw = 0 };
	if (!gcm) {
		offsets.ofs.cipher.head = RTP_HEADER;
		offsets.ofs.cipher.tail = ROC_BYTES;
	}
	for (unsigned i = 0; i < n; i++) {
		struct packet *p = &packets[i];
		unsigned at = i + AHEAD;
		int32_t status = 0;
		prefetch_object(v, at < n ? sessions[seq[at]] :
					     next_sessions[next[at - n]]);
		make_iv(p->iv, seq[i], i);
		if (!gcm) {
			if (seal)
				put_roc(p);
			else
				swap_tag_for_roc(p);
		}
		struct rte_crypto_vec data = {
			.base = gcm ? p->rtp + RTP_HEADER : p->rtp,
			.len = gcm ? PAYLOAD : TAG_AT + ROC_BYTES,
		};
		struct rte_crypto_sgl sgl = { .vec = &data, .num = 1 };
		struct rte_crypto_va_iova_ptr iv = { .va = p->iv };
		struct rte_crypto_va_iova_ptr aad = { .va = p->rtp };
		struct rte_crypto_va_iova_ptr digest = {
			.va = gcm || seal ? p->rtp + TAG_AT : p->arrived,
		};
		struct rte_crypto_sym_vec vec = {
			.num = 1, .src_sgl = &sgl, .iv = &iv, .digest = &digest,
			.status = &status,
		};
		vec.aad = &aad;
		uint32_t done = rte_cryptodev_sym_cpu_crypto_process(
			v->dev, sessions[seq[i]], offsets, &vec);
		auth_failures += done != 1 || status != 0;
	}
}

static void cpu_seal(const struct variant *v, const uint32_t *seq, unsigned n)
{
	cpu_stage(v, seq, n, true);
}

static void cpu_open(const struct variant *v, const uint32_t *seq, unsigned n)
{
	cpu_stage(v, seq, n, false);
}

static void *create_session(int dev, enum suite suite, bool seal, uint32_t session,
			    struct rte_mempool *pool)
{
	uint8_t cipher_key[16], auth_key[20];
	struct rte_crypto_sym_xform aead = { .type = RTE_CRYPTO_SYM_XFORM_AEAD };
	struct rte_crypto_sym_xform cipher = { .type = RTE_CRYPTO_SYM_XFORM_CIPHER };
	struct rte_crypto_sym_xform auth = { .type = RTE_CRYPTO_SYM_XFORM_AUTH };
	session_key(session, cipher_key, auth_key);
	if (suite == SUITE_GCM) {
		aead.aead.op = seal ? RTE_CRYPTO_AEAD_OP_ENCRYPT :
				      RTE_CRYPTO_AEAD_OP_DECRYPT;
		aead.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
		aead.aead.key.data = cipher_key;
		aead.aead.key.length = 16;
		aead.aead.iv.offset = IV_OFFSET;
		aead.aead.iv.length = 12;
		aead.aead.digest_length = GCM_TAG;
		aead.aead.aad_length = RTP_HEADER;
		return rte_cryptodev_sym_session_create(dev, &aead, pool);
	}
	cipher.cipher.op = seal ? RTE_CRYPTO_CIPHER_OP_ENCRYPT :
				  RTE_CRYPTO_CIPHER_OP_DECRYPT;
	cipher.cipher.algo = RTE_CRYPTO_CIPHER_AES_CTR;
	cipher.cipher.key.data = cipher_key;
	cipher.cipher.key.length = 16;
	cipher.cipher.iv.offset = IV_OFFSET;
	cipher.cipher.iv.length = 16;
	auth.auth.op = seal ? RTE_CRYPTO_AUTH_OP_GENERATE : RTE_CRYPTO_AUTH_OP_VERIFY;
	auth.auth.algo = RTE_CRYPTO_AUTH_SHA1_HMAC;
	auth.auth.key.data = auth_key;
	auth.auth.key.length = 20;
	auth.auth.digest_length = CM_TAG;
	if (seal)
		cipher.next = &auth;
	else
		auth.next = &cipher;
	return rte_cryptodev_sym_session_create(dev, seal ? &cipher : &auth, pool);
}

/* Where gcm_key_data lies in a driver's session object: AES's first round key is
 * the key itself. */
static size_t find_key(const uint8_t *session, size_t bytes, uint32_t index)
{
	uint8_t cipher_key[16], auth_key[20];
	session_key(index, cipher_key, auth_key);
	for (size_t at = 0; at + 1008 <= bytes; at += 16)
		if (memcmp(session + at, cipher_key, 16) == 0)
			return at;
	return 0;
}

static void add_device(int dev, const char *short_name, enum suite suite,
		       struct rte_mempool *pool, uint32_t sessions)
{
	static const char *const how[] = { "none", "whole", "lines", "lines.spread" };
	struct rte_cryptodev_info info;
	size_t bytes = pool->elt_size;
	void **lists[2];
	char name[48];
	for (int seal = 0; seal < 2; seal++) {
		lists[seal] = calloc(sessions, sizeof(void *));
		if (lists[seal] == NULL)
			die("no memory for the list of %u sessions", sessions);
	}
	/* Both of a session together, as the other variants' keys would lie if they
	 * were of one stream; objects come from the pool in order. */
	for (uint32_t i = 0; i < sessions; i++)
		for (int seal = 0; seal < 2; seal++) {
			lists[seal][i] = create_session(dev, suite, seal, i, pool);
			if (lists[seal][i] == NULL)
				die("%s: session %u of %u: %s", short_name, i, sessions,
				    rte_strerror(rte_errno));
		}
	size_t key = suite == SUITE_GCM ? find_key(lists[0][0], bytes, 0) : 0;
	rte_cryptodev_info_get(dev, &info);
	for (int cpu = 0; cpu < 2; cpu++) {
		if (cpu && !(info.feature_flags & RTE_CRYPTODEV_FF_SYM_CPU_CRYPTO))
			continue;
		for (unsigned i = 0; i < RTE_DIM(how); i++) {
			if (i >= 2 && key == 0)
				continue;
			/* lanes of jobs would hold operations back */
			if (i == 3 && (cpu || strcmp(short_name, "aesni-gcm") != 0))
				continue;
			snprintf(name, sizeof(name), "%s-%s-%s-%s",
				 suite == SUITE_GCM ? "gcm" : "cm",
				 cpu ? "cpu-crypto" : "enqueue", short_name, how[i]);
			struct variant *v = add_variant(name, suite);
			v->seal = cpu ? cpu_seal : queue_seal;
			v->open = cpu ? cpu_open : queue_open;
			v->prefetch = (enum prefetch[]){ PREFETCH_NONE, PREFETCH_WHOLE,
							 PREFETCH_LINES,
							 PREFETCH_LINES }[i];
			v->spread = i == 3;
			v->dev = dev;
			v->seal_sessions = lists[1];
			v->open_sessions = lists[0];
			v->session_bytes = bytes;
			v->key_offset = key;
		}
	}
}

static struct rte_mempool *configure(int dev, const char *pool_name, uint32_t objects)
{
	struct rte_cryptodev_config config = { .nb_queue_pairs = 1, .socket_id = 0 };
	struct rte_cryptodev_qp_conf queue = { .nb_descriptors = 256 };
	struct rte_mempool *pool = rte_cryptodev_sym_session_pool_create(
		pool_name, objects, rte_cryptodev_sym_get_private_session_size(dev), 0, 0,
		0);
	if (pool == NULL)
		die("%s: no hugepages for %u sessions of %u bytes", pool_name, objects,
		    rte_cryptodev_sym_get_private_session_size(dev));
	queue.mp_session = pool;
	if (rte_cryptodev_configure(dev, &config) < 0 ||
	    rte_cryptodev_queue_pair_setup(dev, 0, &queue, 0) < 0 ||
	    rte_cryptodev_start(dev) < 0)
		die("%s: the device cannot be started", pool_name);
	return pool;
}

void add_cryptodev_variants(uint32_t sessions)
{
	int gcm = rte_cryptodev_get_dev_id("crypto_aesni_gcm0");
	int mb = rte_cryptodev_get_dev_id("crypto_aesni_mb0");
	if (gcm < 0 || mb < 0)
		die("crypto_aesni_gcm and crypto_aesni_mb are needed "
		    "(librte_crypto_ipsec_mb)");
	struct rte_mempool *ops = rte_crypto_op_pool_create(
		"ops", RTE_CRYPTO_OP_TYPE_SYMMETRIC, MAX_BURST, 0, 16, 0);
	if (ops == NULL)
		die("no memory for %d operations", MAX_BURST);
	for (unsigned i = 0; i < MAX_BURST; i++) {
		packets[i].op = rte_crypto_op_alloc(ops, RTE_CRYPTO_OP_TYPE_SYMMETRIC);
		if (packets[i].op == NULL)
			die("operation %u: none left in its pool", i);
		packets[i].op->sess_type = RTE_CRYPTO_OP_WITH_SESSION;
	}
	add_device(gcm, "aesni-gcm", SUITE_GCM, configure(gcm, "gcm", 2 * sessions),
		   sessions);
	struct rte_mempool *pool = configure(mb, "mb", 4 * sessions);
	add_device(mb, "aesni-mb", SUITE_GCM, pool, sessions);
	add_device(mb, "aesni-mb", SUITE_CM, pool, sessions);
}
