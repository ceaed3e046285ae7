/* AES-128 counter mode by hand, in place: what a direct call would cost, since
 * intel-ipsec-mb 1.3 exports none. Also an implementation that shares no code
 * with the others, so that their agreement means something. */
#include <immintrin.h>

#include "compare.h"

/* The counter block for block n: the last 32 bits of the IV, big endian, plus n. */
__attribute__((target("aes,sse4.1"))) static inline __m128i
counter(__m128i iv, uint32_t n)
{
	uint32_t low = __builtin_bswap32((uint32_t)_mm_extract_epi32(iv, 3)) + n;
	return _mm_insert_epi32(iv, (int)__builtin_bswap32(low), 3);
}

__attribute__((target("aes,sse4.1"))) void
ctr_aesni(const uint8_t *schedule, const uint8_t *iv, uint8_t *data, unsigned bytes)
{
	__m128i base = _mm_loadu_si128((const __m128i *)iv);
	__m128i keys[11];
	for (int r = 0; r < 11; r++)
		keys[r] = _mm_loadu_si128((const __m128i *)(schedule + 16 * r));
	for (unsigned done = 0; done < bytes;) {
		__m128i blocks[8];
		unsigned left = (bytes - done + 15) / 16;
		unsigned n = left < 8 ? left : 8;
		for (unsigned i = 0; i < 8; i++)
			blocks[i] = _mm_xor_si128(counter(base, done / 16 + i), keys[0]);
		for (int r = 1; r < 10; r++)
			for (unsigned i = 0; i < 8; i++)
				blocks[i] = _mm_aesenc_si128(blocks[i], keys[r]);
		for (unsigned i = 0; i < 8; i++)
			blocks[i] = _mm_aesenclast_si128(blocks[i], keys[10]);
		for (unsigned i = 0; i < n; i++, done += 16) {
			uint8_t *at = data + done;
			if (bytes - done >= 16) {
				__m128i text = _mm_loadu_si128((const __m128i *)at);
				_mm_storeu_si128((__m128i *)at,
						 _mm_xor_si128(text, blocks[i]));
			} else {
				uint8_t stream[16];
				_mm_storeu_si128((__m128i *)stream, blocks[i]);
				for (unsigned b = 0; b < bytes - done; b++)
					at[b] ^= stream[b];
			}
		}
	}
}

__attribute__((target("avx512f,avx512bw,vaes"))) void
ctr_vaes512(const uint8_t *schedule, const uint8_t *iv, uint8_t *data, unsigned bytes)
{
	const __m512i swap = _mm512_broadcast_i32x4(
		_mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
	__m512i base = _mm512_shuffle_epi8(
		_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)iv)), swap);
	base = _mm512_add_epi32(base, _mm512_set_epi32(3, 0, 0, 0, 2, 0, 0, 0, 1, 0,
						       0, 0, 0, 0, 0, 0));
	const __m512i four = _mm512_set_epi32(4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4,
					      0, 0, 0);
	while (bytes > 0) {
		__m512i blocks[3];
		__m512i key = _mm512_broadcast_i32x4(
			_mm_loadu_si128((const __m128i *)schedule));
		for (int i = 0; i < 3; i++) {
			blocks[i] = _mm512_xor_si512(_mm512_shuffle_epi8(base, swap), key);
			base = _mm512_add_epi32(base, four);
		}
		for (int r = 1; r < 10; r++) {
			key = _mm512_broadcast_i32x4(
				_mm_loadu_si128((const __m128i *)(schedule + 16 * r)));
			for (int i = 0; i < 3; i++)
				blocks[i] = _mm512_aesenc_epi128(blocks[i], key);
		}
		key = _mm512_broadcast_i32x4(
			_mm_loadu_si128((const __m128i *)(schedule + 160)));
		for (int i = 0; i < 3 && bytes > 0; i++) {
			unsigned n = bytes < 64 ? bytes : 64;
			__mmask64 mask = n == 64 ? ~0ull : (1ull << n) - 1;
			__m512i text = _mm512_maskz_loadu_epi8(mask, data);
			text = _mm512_xor_si512(text,
						_mm512_aesenclast_epi128(blocks[i], key));
			_mm512_mask_storeu_epi8(data, mask, text);
			data += n;
			bytes -= n;
		}
	}
}
