/* What the variants share: the packets, the keys, and how a stage is called.
 *
 * A variant seals a burst and opens it again. The two use different key
 * contexts (different cache lines) that hold the same key, so that every packet
 * that is opened in the timed loop is authentic, and is checked to be.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <intel-ipsec-mb.h>
#include <rte_crypto.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#define RTP_HEADER 12 /* bytes: the AAD of GCM, the clear part of AES-CM */
#define PAYLOAD 160   /* bytes: 20 ms of G.711 */
#define GCM_TAG 16    /* bytes, RFC 7714 section 13.2 */
#define CM_TAG 10     /* bytes, RFC 3711 section 5.2 */
#define ROC_BYTES 4   /* hashed after the packet, RFC 3711 section 4.2 */
#define MAX_BURST 64
#define AHEAD 8       /* packets that a per-packet variant prefetches ahead */
#define KEY_STRIDE 1024 /* bytes of one gcm_key_data, rounded up to lines */
#define LINE 64

/* What of a key is prefetched. */
enum prefetch {
	PREFETCH_NONE,
	PREFETCH_WHOLE, /* every line of the key or session object */
	PREFETCH_LINES, /* only lines that are read: first 192, last 240 bytes */
	PREFETCH_SIX,   /* as LINES, less the line that 160 bytes never need */
};

enum suite { SUITE_GCM, SUITE_CM };

/* One key of AES_CM_128_HMAC_SHA1_80: four lines. */
struct cm_key {
	uint8_t schedule[176];
	uint8_t ipad[20];
	uint8_t opad[20];
} __attribute__((aligned(64)));

struct packet {
	struct rte_mbuf *mbuf;
	unsigned payload;   /* bytes: PAYLOAD, unless the variant is mixed */
	uint8_t *rtp;       /* header, payload, tag: contiguous */
	uint8_t *iv;        /* 12 (GCM) or 16 (CM) bytes */
	uint8_t tag[32];    /* where a tag is computed for comparison */
	uint8_t arrived[16];/* the tag that arrived, where the ROC now stands */
	struct rte_crypto_op *op;
};

struct variant;
/* Processes packets[0..n), packet i with the keys of session seq[i].
 * seq[n .. n + MAX_BURST) is what comes next, for prefetching. */
typedef void (*stage)(const struct variant *v, const uint32_t *seq, unsigned n);

struct variant {
	char name[48];
	enum suite suite;
	stage seal, open;
	enum prefetch prefetch;
	unsigned burst;      /* packets a burst; 0: the default of 32 */
	unsigned ahead;      /* packets prefetched ahead, at most a burst; 0: AHEAD */
	IMB_MGR *mgr;
	IMB_MGR *rest_mgr;   /* hashes what does not fill 16 equal lanes; NULL: mgr does */
	bool mixed;          /* payloads of 20 to 160 bytes in one burst */
	bool nocheck;
	bool one_by_one;     /* one call of the cipher burst or dequeue for each packet */
	bool spread;         /* prefetches between those calls, not all at once */
	int dev;             /* cryptodev id */
	void **seal_sessions, **open_sessions;
	size_t session_bytes; /* bytes of one cryptodev session object */
	size_t key_offset;    /* of gcm_key_data in it; 0 if not found */
	void (*ctr)(const uint8_t *schedule, const uint8_t *iv, uint8_t *data,
		    unsigned bytes);
};

extern struct packet packets[MAX_BURST];
extern uint8_t *gcm_seal_keys, *gcm_open_keys; /* KEY_STRIDE apart */
extern struct cm_key *cm_seal_keys, *cm_open_keys;
extern uint64_t auth_failures; /* opens that did not verify */

struct variant *add_variant(const char *name, enum suite suite);
void session_key(uint32_t session, uint8_t cipher[16], uint8_t auth[20]);
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

void add_imb_variants(void);
void add_cryptodev_variants(uint32_t sessions);
void print_footprint(FILE *f, bool json);
void ctr_aesni(const uint8_t *, const uint8_t *, uint8_t *, unsigned);
void ctr_vaes512(const uint8_t *, const uint8_t *, uint8_t *, unsigned);

/* rte_prefetch0 is volatile assembly. __builtin_prefetch will not do: gcc 12 takes
 * a function of nothing else for one without effect, and drops the call. */
static inline void prefetch_range(const void *start, size_t bytes)
{
	const char *p = start;
	for (size_t i = 0; i < bytes; i += LINE)
		rte_prefetch0(p + i);
}

static inline void prefetch_gcm_key(const void *key, enum prefetch what)
{
	const char *p = key;
	switch (what) {
	case PREFETCH_NONE:
		break;
	case PREFETCH_WHOLE:
		prefetch_range(p, 1008);
		break;
	case PREFETCH_LINES:
		prefetch_range(p, 192);
		prefetch_range(p + 768, 240);
		break;
	case PREFETCH_SIX:
		prefetch_range(p, 192);
		prefetch_range(p + 832, 176);
		break;
	}
}

/* The nonce of RFC 7714 section 8.1 and the counter block of RFC 3711 section
 * 4.1.1 differ in layout, not in cost: distinct by session and packet. */
static inline void make_iv(uint8_t *iv, uint32_t session, uint32_t index)
{
	uint32_t words[4] = { session * 0x9e3779b9u, session, index, 0 };
	memcpy(iv, words, 16);
}

static inline bool equal(const uint8_t *a, const uint8_t *b, unsigned bytes)
{
	uint64_t x, y, difference;
	uint16_t s, t;
	memcpy(&x, a, 8);
	memcpy(&y, b, 8);
	difference = x ^ y;
	if (bytes == GCM_TAG) {
		memcpy(&x, a + 8, 8);
		memcpy(&y, b + 8, 8);
		difference |= x ^ y;
	} else {
		memcpy(&s, a + 8, 2);
		memcpy(&t, b + 8, 2);
		difference |= s ^ t;
	}
	return difference == 0;
}

/* The receiver's side of RFC 3711 section 4.2: the tag makes room for the ROC,
 * so that header, ciphertext and ROC are one contiguous message. */
static inline void put_roc(struct packet *p)
{
	static const uint8_t roc[ROC_BYTES] = { 0, 0, 0, 7 };
	memcpy(p->rtp + RTP_HEADER + p->payload, roc, ROC_BYTES);
}

static inline void swap_tag_for_roc(struct packet *p)
{
	memcpy(p->arrived, p->rtp + RTP_HEADER + p->payload, CM_TAG);
	put_roc(p);
}

#endif
