/* The variants over intel-ipsec-mb itself: direct GCM calls, its job API one by
 * one and in bursts, and its synchronous cipher and hash bursts. */
#include "compare.h"

static inline const void *gcm_key(const uint8_t *keys, uint32_t session)
{
	return keys + (size_t)session * KEY_STRIDE;
}

/* The key that is used v->ahead packets after packet i of this stage: of this
 * stage, or of the start of the one that follows. */
static inline void
prefetch_gcm_ahead(const struct variant *v, const uint32_t *seq, unsigned n,
		   unsigned i, const uint8_t *keys, const uint8_t *next_keys,
		   unsigned next_at)
{
	unsigned at = i + (v->ahead ? v->ahead : AHEAD);
	if (v->prefetch == PREFETCH_NONE)
		return;
	if (at < n)
		prefetch_gcm_key(gcm_key(keys, seq[at]), v->prefetch);
	else
		prefetch_gcm_key(gcm_key(next_keys, seq[at - n + next_at]), v->prefetch);
}

static void gcm_direct_seal(const struct variant *v, const uint32_t *seq, unsigned n)
{
	struct gcm_context_data context;
	for (unsigned i = 0; i < n; i++) {
		struct packet *p = &packets[i];
		uint8_t *payload = p->rtp + RTP_HEADER;
		prefetch_gcm_ahead(v, seq, n, i, gcm_seal_keys, gcm_open_keys, 0);
		make_iv(p->iv, seq[i], i);
		IMB_AES128_GCM_ENC(v->mgr, gcm_key(gcm_seal_keys, seq[i]), &context,
				   payload, payload, PAYLOAD, p->iv, p->rtp,
				   RTP_HEADER, payload + PAYLOAD, GCM_TAG);
	}
}

static void gcm_direct_open(const struct variant *v, const uint32_t *seq, unsigned n)
{
	struct gcm_context_data context;
	for (unsigned i = 0; i < n; i++) {
		struct packet *p = &packets[i];
		uint8_t *payload = p->rtp + RTP_HEADER;
		prefetch_gcm_ahead(v, seq, n, i, gcm_open_keys, gcm_seal_keys, n);
		make_iv(p->iv, seq[i], i);
		IMB_AES128_GCM_DEC(v->mgr, gcm_key(gcm_open_keys, seq[i]), &context,
				   payload, payload, PAYLOAD, p->iv, p->rtp,
				   RTP_HEADER, p->tag, GCM_TAG);
		auth_failures += !equal(p->tag, payload + PAYLOAD, GCM_TAG);
	}
}

/* A job of the job API comes from the manager's ring and is filled whole. */
static inline void fill_gcm_job(IMB_JOB *job, struct packet *p, const void *key,
				IMB_CIPHER_DIRECTION direction)
{
	job->enc_keys = key;
	job->dec_keys = key;
	job->key_len_in_bytes = 16;
	job->src = p->rtp;
	job->dst = p->rtp + RTP_HEADER;
	job->cipher_start_src_offset_in_bytes = RTP_HEADER;
	job->msg_len_to_cipher_in_bytes = PAYLOAD;
	job->hash_start_src_offset_in_bytes = RTP_HEADER;
	job->msg_len_to_hash_in_bytes = PAYLOAD;
	job->iv = p->iv;
	job->iv_len_in_bytes = 12;
	job->auth_tag_output = direction == IMB_DIR_ENCRYPT ?
		p->rtp + RTP_HEADER + PAYLOAD : p->tag;
	job->auth_tag_output_len_in_bytes = GCM_TAG;
	job->u.GCM.aad = p->rtp;
	job->u.GCM.aad_len_in_bytes = RTP_HEADER;
	job->cipher_mode = IMB_CIPHER_GCM;
	job->cipher_direction = direction;
	job->hash_alg = IMB_AUTH_AES_GMAC;
	job->chain_order = direction == IMB_DIR_ENCRYPT ?
		IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->user_data = p;
}

/* In chained CM jobs the ROC stands where the tag will, so the tag goes aside. */
static inline void fill_cm_job(IMB_JOB *job, struct packet *p,
			       const struct cm_key *key,
			       IMB_CIPHER_DIRECTION direction)
{
	job->enc_keys = key->schedule;
	job->dec_keys = key->schedule; /* counter mode decrypts by encrypting */
	job->key_len_in_bytes = 16;
	job->src = p->rtp;
	job->dst = p->rtp + RTP_HEADER;
	job->cipher_start_src_offset_in_bytes = RTP_HEADER;
	job->msg_len_to_cipher_in_bytes = p->payload;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = RTP_HEADER + p->payload + ROC_BYTES;
	job->iv = p->iv;
	job->iv_len_in_bytes = 16;
	job->auth_tag_output = p->tag;
	job->auth_tag_output_len_in_bytes = 12; /* 12 or 20 only */
	job->u.HMAC._hashed_auth_key_xor_ipad = key->ipad;
	job->u.HMAC._hashed_auth_key_xor_opad = key->opad;
	job->cipher_mode = IMB_CIPHER_CNTR;
	job->cipher_direction = direction;
	job->hash_alg = IMB_AUTH_HMAC_SHA_1;
	job->chain_order = direction == IMB_DIR_ENCRYPT ?
		IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->user_data = p;
}

static inline void fill_job(const struct variant *v, IMB_JOB *job, struct packet *p,
			    uint32_t session, IMB_CIPHER_DIRECTION direction)
{
	bool seal = direction == IMB_DIR_ENCRYPT;
	if (v->suite == SUITE_GCM) {
		fill_gcm_job(job, p, gcm_key(seal ? gcm_seal_keys : gcm_open_keys,
					     session), direction);
	} else {
		if (seal)
			put_roc(p);
		else
			swap_tag_for_roc(p);
		fill_cm_job(job, p, &(seal ? cm_seal_keys : cm_open_keys)[session],
			    direction);
	}
}

static inline void finish_job(const struct variant *v, const IMB_JOB *job,
			      IMB_CIPHER_DIRECTION direction)
{
	struct packet *p = job->user_data;
	uint8_t *tag = p->rtp + RTP_HEADER + p->payload;
	if (direction == IMB_DIR_ENCRYPT) {
		if (v->suite == SUITE_CM)
			memcpy(tag, p->tag, CM_TAG);
	} else {
		bool good = v->suite == SUITE_GCM ? equal(p->tag, tag, GCM_TAG) :
						    equal(p->tag, p->arrived, CM_TAG);
		auth_failures += !good;
	}
	auth_failures += job->status != IMB_STATUS_COMPLETED;
}

static inline void prefetch_session(const struct variant *v, uint32_t session, bool seal)
{
	if (v->prefetch == PREFETCH_NONE)
		return;
	if (v->suite == SUITE_GCM)
		prefetch_gcm_key(gcm_key(seal ? gcm_seal_keys : gcm_open_keys, session),
				 v->prefetch);
	else
		prefetch_range(&(seal ? cm_seal_keys : cm_open_keys)[session],
			       sizeof(struct cm_key));
}

/* Jobs one by one; complete in order, whatever lanes they went through. */
static inline void job_stage(const struct variant *v, const uint32_t *seq, unsigned n,
			     IMB_CIPHER_DIRECTION direction)
{
	bool seal = direction == IMB_DIR_ENCRYPT;
	unsigned next = seal ? 0 : n; /* where the stage after this one starts */
	IMB_JOB *done;
	for (unsigned i = 0; i < n; i++) {
		IMB_JOB *job = IMB_GET_NEXT_JOB(v->mgr);
		if (i + AHEAD < n)
			prefetch_session(v, seq[i + AHEAD], seal);
		else
			prefetch_session(v, seq[i + AHEAD - n + next], !seal);
		make_iv(packets[i].iv, seq[i], i);
		fill_job(v, job, &packets[i], seq[i], direction);
		done = v->nocheck ? IMB_SUBMIT_JOB_NOCHECK(v->mgr) : IMB_SUBMIT_JOB(v->mgr);
		while (done != NULL) {
			finish_job(v, done, direction);
			done = IMB_GET_COMPLETED_JOB(v->mgr);
		}
	}
	while ((done = IMB_FLUSH_JOB(v->mgr)) != NULL)
		finish_job(v, done, direction);
}

static void job_seal(const struct variant *v, const uint32_t *seq, unsigned n)
{
	job_stage(v, seq, n, IMB_DIR_ENCRYPT);
}

static void job_open(const struct variant *v, const uint32_t *seq, unsigned n)
{
	job_stage(v, seq, n, IMB_DIR_DECRYPT);
}

/* The asynchronous burst API. Where a burst is one call, the keys of the next
 * stage are prefetched while this one fills its jobs. */
static inline void burst_stage(const struct variant *v, const uint32_t *seq, unsigned n,
			       IMB_CIPHER_DIRECTION direction)
{
	bool seal = direction == IMB_DIR_ENCRYPT;
	unsigned next = seal ? 0 : n;
	IMB_JOB *jobs[MAX_BURST];
	if (IMB_GET_NEXT_BURST(v->mgr, n, jobs) != n)
		die("%s: the job ring is not empty", v->name);
	for (unsigned i = 0; i < n; i++) {
		prefetch_session(v, seq[i + next], !seal);
		make_iv(packets[i].iv, seq[i], i);
		fill_job(v, jobs[i], &packets[i], seq[i], direction);
	}
	unsigned done = v->nocheck ? IMB_SUBMIT_BURST_NOCHECK(v->mgr, n, jobs) :
				     IMB_SUBMIT_BURST(v->mgr, n, jobs);
	if (done == 0 && imb_get_errno(v->mgr) != 0)
		die("%s: %s", v->name, imb_get_strerror(imb_get_errno(v->mgr)));
	for (unsigned left = n;;) {
		for (unsigned i = 0; i < done; i++)
			finish_job(v, jobs[i], direction);
		left -= done;
		if (left == 0)
			break;
		done = IMB_FLUSH_BURST(v->mgr, left, jobs);
	}
}

static void burst_seal(const struct variant *v, const uint32_t *seq, unsigned n)
{
	burst_stage(v, seq, n, IMB_DIR_ENCRYPT);
}

static void burst_open(const struct variant *v, const uint32_t *seq, unsigned n)
{
	burst_stage(v, seq, n, IMB_DIR_DECRYPT);
}

/* The synchronous cipher and hash bursts work on an array of jobs that the
 * caller owns: what never changes is written once, here. */
static IMB_JOB own_jobs[MAX_BURST] __attribute__((aligned(64)));

static void prepare_own_jobs(void)
{
	for (unsigned i = 0; i < MAX_BURST; i++) {
		IMB_JOB *job = &own_jobs[i];
		job->key_len_in_bytes = 16;
		job->cipher_start_src_offset_in_bytes = RTP_HEADER;
		job->hash_start_src_offset_in_bytes = 0;
		job->iv_len_in_bytes = 16;
		job->auth_tag_output_len_in_bytes = 12;
		job->cipher_mode = IMB_CIPHER_CNTR;
		job->cipher_direction = IMB_DIR_ENCRYPT;
		job->hash_alg = IMB_AUTH_HMAC_SHA_1;
		job->chain_order = IMB_ORDER_CIPHER_HASH;
	}
}

/* next[i] is the session whose key of the next stage packet i prefetches. */
static inline void cipher_all(const struct variant *v, const struct cm_key *keys,
			      const uint32_t *seq, unsigned n, const uint32_t *next,
			      bool next_seals)
{
	unsigned done = 0;
	if (v->ctr != NULL || v->one_by_one)
		for (unsigned i = 0; i < n; i++) {
			if (v->spread)
				prefetch_session(v, next[i], next_seals);
			if (v->ctr != NULL) {
				v->ctr(keys[seq[i]].schedule, packets[i].iv,
				       packets[i].rtp + RTP_HEADER, packets[i].payload);
				done++;
			} else {
				done += IMB_SUBMIT_CIPHER_BURST_NOCHECK(
					v->mgr, &own_jobs[i], 1, IMB_CIPHER_CNTR,
					IMB_DIR_ENCRYPT, IMB_KEY_128_BYTES);
			}
		}
	else if (v->nocheck)
		done = IMB_SUBMIT_CIPHER_BURST_NOCHECK(v->mgr, own_jobs, n, IMB_CIPHER_CNTR,
						       IMB_DIR_ENCRYPT, IMB_KEY_128_BYTES);
	else
		done = IMB_SUBMIT_CIPHER_BURST(v->mgr, own_jobs, n, IMB_CIPHER_CNTR,
					       IMB_DIR_ENCRYPT, IMB_KEY_128_BYTES);
	auth_failures += n - done;
}

/* SHA-1 blocks of the inner hash: what a lane is busy for. */
static inline uint64_t blocks(const IMB_JOB *job)
{
	return (job->msg_len_to_hash_in_bytes + 8) / 64;
}

/* Sixteen AVX-512 lanes take as long as the longest of them, however few are
 * filled. So, with a manager for the rest, only whole sixteens of equal lengths go
 * there, and what is left over or mixed goes to two lanes of SHA-NI. */
static inline unsigned fit_for_lanes(unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		if (blocks(&own_jobs[i]) != blocks(&own_jobs[0]))
			return 0;
	return n - n % 16;
}

static inline void hash_all(const struct variant *v, unsigned n)
{
	unsigned full = v->rest_mgr != NULL ? fit_for_lanes(n) : n, done = 0;
	if (!v->nocheck)
		done = IMB_SUBMIT_HASH_BURST(v->mgr, own_jobs, n, IMB_AUTH_HMAC_SHA_1);
	else if (full != 0)
		done = IMB_SUBMIT_HASH_BURST_NOCHECK(v->mgr, own_jobs, full,
						     IMB_AUTH_HMAC_SHA_1);
	if (v->nocheck && full < n)
		done += IMB_SUBMIT_HASH_BURST_NOCHECK(v->rest_mgr, own_jobs + full,
						      n - full, IMB_AUTH_HMAC_SHA_1);
	auth_failures += n - done;
}

static inline void fill_own_job(IMB_JOB *job, struct packet *p, const struct cm_key *key)
{
	job->enc_keys = key->schedule;
	job->src = p->rtp;
	job->dst = p->rtp + RTP_HEADER;
	job->msg_len_to_cipher_in_bytes = p->payload;
	job->msg_len_to_hash_in_bytes = RTP_HEADER + p->payload + ROC_BYTES;
	job->iv = p->iv;
	job->auth_tag_output = p->tag;
	job->u.HMAC._hashed_auth_key_xor_ipad = key->ipad;
	job->u.HMAC._hashed_auth_key_xor_opad = key->opad;
}

static void split_seal(const struct variant *v, const uint32_t *seq, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct packet *p = &packets[i];
		if (!v->spread)
			prefetch_session(v, seq[i], false);
		make_iv(p->iv, seq[i], i);
		put_roc(p);
		fill_own_job(&own_jobs[i], p, &cm_seal_keys[seq[i]]);
	}
	cipher_all(v, cm_seal_keys, seq, n, seq, false);
	hash_all(v, n);
	for (unsigned i = 0; i < n; i++)
		memcpy(packets[i].rtp + RTP_HEADER + packets[i].payload, packets[i].tag, CM_TAG);
}

static void split_open(const struct variant *v, const uint32_t *seq, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct packet *p = &packets[i];
		if (!v->spread)
			prefetch_session(v, seq[i + n], true);
		make_iv(p->iv, seq[i], i);
		swap_tag_for_roc(p);
		fill_own_job(&own_jobs[i], p, &cm_open_keys[seq[i]]);
	}
	hash_all(v, n);
	for (unsigned i = 0; i < n; i++)
		auth_failures += !equal(packets[i].tag, packets[i].arrived, CM_TAG);
	cipher_all(v, cm_open_keys, seq, n, seq + n, true);
}

static IMB_MGR *manager(void (*init)(IMB_MGR *))
{
	IMB_MGR *mgr = alloc_mb_mgr(0);
	if (mgr == NULL)
		die("alloc_mb_mgr: no memory");
	init(mgr);
	if (imb_get_errno(mgr) != 0)
		die("init_mb_mgr: %s", imb_get_strerror(imb_get_errno(mgr)));
	return mgr;
}

static void init_auto(IMB_MGR *mgr)
{
	init_mb_mgr_auto(mgr, NULL);
}

void add_imb_variants(void)
{
	static const struct {
		const char *name;
		enum prefetch prefetch;
		unsigned ahead;
	} direct[] = {
		{ "gcm-direct-none", PREFETCH_NONE, 0 },
		{ "gcm-direct-whole", PREFETCH_WHOLE, 0 },
		{ "gcm-direct-lines", PREFETCH_LINES, 0 },
		{ "gcm-direct-lines.ahead16", PREFETCH_LINES, 16 },
		{ "gcm-direct-lines.ahead32", PREFETCH_LINES, 32 },
		{ "gcm-direct-six-lines", PREFETCH_SIX, 0 },
		{ "gcm-direct-six-lines.ahead32", PREFETCH_SIX, 32 },
	};
	static const struct { const char *name; stage seal, open; bool nocheck; } jobs[] = {
		{ "job", job_seal, job_open, false },
		{ "job-nocheck", job_seal, job_open, true },
		{ "burst", burst_seal, burst_open, false },
		{ "burst-nocheck", burst_seal, burst_open, true },
	};
	static const unsigned bursts[] = {
		1, 2, 4, 8, 12, 15, 16, 20, 24, 31, 32, 48, 64 };
	IMB_MGR *best = manager(init_auto), *sse = manager(init_mb_mgr_sse);
	IMB_MGR *avx2 = manager(init_mb_mgr_avx2);
	struct variant *v;
	char name[48];

	prepare_own_jobs();
	for (unsigned i = 0; i < RTE_DIM(direct); i++) {
		v = add_variant(direct[i].name, SUITE_GCM);
		v->seal = gcm_direct_seal;
		v->open = gcm_direct_open;
		v->prefetch = direct[i].prefetch;
		v->ahead = direct[i].ahead;
		v->mgr = best;
	}
	for (unsigned suite = 0; suite < 2; suite++)
		for (unsigned i = 0; i < RTE_DIM(jobs); i++) {
			snprintf(name, sizeof(name), "%s-%s",
				 suite == SUITE_GCM ? "gcm" : "cm", jobs[i].name);
			v = add_variant(name, suite);
			v->seal = jobs[i].seal;
			v->open = jobs[i].open;
			v->prefetch = PREFETCH_LINES;
			v->nocheck = jobs[i].nocheck;
			v->mgr = best;
		}
	const struct {
		const char *name;
		IMB_MGR *mgr, *rest;
		void (*ctr)(const uint8_t *, const uint8_t *, uint8_t *, unsigned);
		bool check, one_by_one, spread, no_prefetch, usable;
	} split[] = {
		{ .name = "cm-split", .mgr = best, .check = true, .usable = true },
		{ .name = "cm-split-nocheck", .mgr = best, .usable = true },
		{ .name = "cm-split-nocheck-none", .mgr = best, .no_prefetch = true,
		  .usable = true },
		{ .name = "cm-split-nocheck-avx2", .mgr = avx2, .usable = true },
		{ .name = "cm-split-nocheck-sse", .mgr = sse, .usable = true },
		{ .name = "cm-split-nocheck-hybrid", .mgr = best, .rest = sse,
		  .usable = true },
		{ .name = "cm-cipher-one-by-one-and-hash-burst", .mgr = best,
		  .one_by_one = true, .usable = true },
		{ .name = "cm-cipher-one-by-one-and-hash-burst.spread", .mgr = best,
		  .one_by_one = true, .spread = true, .usable = true },
		{ .name = "cm-aesni-and-hash-burst", .mgr = best, .ctr = ctr_aesni,
		  .usable = best->features & IMB_FEATURE_AESNI },
		{ .name = "cm-vaes-and-hash-burst", .mgr = best, .ctr = ctr_vaes512,
		  .usable = (best->features & IMB_FEATURE_VAES) &&
			    (best->features & IMB_FEATURE_AVX512BW) },
	};
	for (unsigned i = 0; i < RTE_DIM(split); i++) {
		if (!split[i].usable)
			continue;
		v = add_variant(split[i].name, SUITE_CM);
		v->seal = split_seal;
		v->open = split_open;
		v->prefetch = split[i].no_prefetch ? PREFETCH_NONE : PREFETCH_LINES;
		v->nocheck = !split[i].check;
		v->mgr = split[i].mgr;
		v->rest_mgr = split[i].rest;
		v->one_by_one = split[i].one_by_one;
		v->ctr = split[i].ctr;
		v->spread = split[i].spread;
	}
	/* How many lanes it takes: the same at other burst sizes and mixed lengths. */
	const struct { const char *name; IMB_MGR *mgr, *rest; } managers[] = {
		{ "", best, NULL }, { "-avx2", avx2, NULL }, { "-sse", sse, NULL },
		{ "-hybrid", best, sse } };
	for (unsigned m = 0; m < RTE_DIM(managers); m++)
		for (unsigned i = 0; i <= RTE_DIM(bursts); i++) {
			bool mixed = i == RTE_DIM(bursts);
			unsigned burst = mixed ? 32 : bursts[i];
			snprintf(name, sizeof(name), "cm-split-nocheck%s%s.b%u",
				 managers[m].name, mixed ? ".mixed" : "", burst);
			v = add_variant(name, SUITE_CM);
			v->seal = split_seal;
			v->open = split_open;
			v->prefetch = PREFETCH_LINES;
			v->nocheck = true;
			v->mgr = managers[m].mgr;
			v->rest_mgr = managers[m].rest;
			v->burst = burst;
			v->mixed = mixed;
		}
}
