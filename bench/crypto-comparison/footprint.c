/* Which bytes of gcm_key_data decide the result for a payload of so many bytes:
 * spoils 16 bytes at a time and sees whether ciphertext, text or tag change. What
 * does not decide need not be prefetched. */

#include "compare.h"

static void run(IMB_MGR *mgr, const void *key, unsigned bytes, uint8_t *out)
{
	static uint8_t text[2048], iv[16], aad[RTP_HEADER];
	struct gcm_context_data context;
	IMB_AES128_GCM_ENC(mgr, key, &context, out, text, bytes, iv, aad, sizeof(aad),
			   out + bytes, GCM_TAG);
	IMB_AES128_GCM_DEC(mgr, key, &context, out + bytes + GCM_TAG, out, bytes, iv, aad,
			   sizeof(aad), out + 2 * bytes + GCM_TAG, GCM_TAG);
}

void print_footprint(FILE *f, bool json)
{
	static const unsigned payloads[] = { 20, 60, 160, 240, 320, 640, 768, 960, 1400 };
	static uint8_t key[KEY_STRIDE] __attribute__((aligned(64)));
	static uint8_t good[8192], spoilt[8192];
	static const uint8_t secret[16] = { 1, 2, 3, 4 };
	IMB_MGR *mgr = alloc_mb_mgr(0);
	if (mgr == NULL)
		die("alloc_mb_mgr: no memory");
	init_mb_mgr_auto(mgr, NULL);
	IMB_AES128_GCM_PRE(mgr, secret, (void *)key);
	for (unsigned p = 0; p < RTE_DIM(payloads); p++) {
		unsigned bytes = payloads[p], from = 0, lines = 0, total = 0;
		bool inside = false, line = false;
		run(mgr, key, bytes, good);
		fprintf(f, "%s%u bytes:", json ? p ? ", \"" : "\"" : "", bytes);
		for (unsigned at = 0; at <= 1008; at += 16) {
			bool used = false;
			if (at < 1008) {
				for (unsigned b = 0; b < 16; b++)
					key[at + b] ^= 0x5a;
				run(mgr, key, bytes, spoilt);
				for (unsigned b = 0; b < 16; b++)
					key[at + b] ^= 0x5a;
				used = memcmp(good, spoilt, 2 * (bytes + GCM_TAG)) != 0;
			}
			if (at % LINE == 0)
				line = false;
			if (used && !line) {
				line = true;
				lines++;
			}
			total += used ? 16 : 0;
			if (used && !inside)
				from = at;
			if (!used && inside)
				fprintf(f, " %u..%u", from, at);
			inside = used;
		}
		fprintf(f, ", %u bytes in %u lines%s", total, lines, json ? "\"" : "\n");
	}
	free_mb_mgr(mgr);
}
