/* What voxlane needs of intel-ipsec-mb. The library is opened at run time, so that one binary runs on machines with
 * and without it; its header is needed to build, because the manager is a structure of function pointers. */
#ifndef VOXLANE_IPSEC_MB_SHIM_H
#define VOXLANE_IPSEC_MB_SHIM_H

#include <stddef.h>
#include <stdint.h>

enum {
	/* Size of struct gcm_key_data, in which the round keys come first and the powers of the hash key end. */
	VX_IMB_GCM_KEY_SIZE = 1008,
	/* Size of struct gcm_context_data. */
	VX_IMB_GCM_CONTEXT_SIZE = 96,
	VX_IMB_MAX_BURST = 64,
	/* Octets of HMAC that are written. */
	VX_IMB_TAG_SIZE = 12,
};

/* Outcomes of vx_imb_open. */
enum {
	VX_IMB_OK = 0,
	/* The library is not installed. */
	VX_IMB_MISSING = 1,
	/* It has another version than the header that this was built with: the manager may be laid out differently. */
	VX_IMB_VERSION = 2,
	/* A symbol is missing. */
	VX_IMB_SYMBOL = 3,
	/* The processor has not even SSE4.1 and AES-NI, or memory ran out. */
	VX_IMB_UNSUPPORTED = 4,
};

typedef void (*vx_imb_gcm)(const void *key, void *context, uint8_t *out, const uint8_t *in, uint64_t len,
			   const uint8_t *iv, const uint8_t *aad, uint64_t aad_len, uint8_t *tag, uint64_t tag_len);
typedef void (*vx_imb_expand)(const void *key, void *expanded);
typedef void (*vx_imb_schedule)(const void *key, void *encryption, void *decryption);

/* Functions that keep no state; the same for all threads. */
struct vx_imb_functions {
	vx_imb_gcm gcm128_seal;
	vx_imb_gcm gcm128_open;
	vx_imb_gcm gcm256_seal;
	vx_imb_gcm gcm256_open;
	vx_imb_expand gcm128_expand;
	vx_imb_expand gcm256_expand;
	vx_imb_schedule aes128_schedule;
	vx_imb_schedule aes256_schedule;
	vx_imb_expand sha1_one_block;
	/* 1 SSE, 2 AVX, 3 AVX2, 4 AVX-512. */
	uint32_t architecture;
	/* As 0x10300 for 1.3.0. */
	uint32_t version;
};

/* One packet for AES in counter mode and HMAC-SHA1. */
struct vx_imb_counter_hmac {
	/* Round keys of the encryption direction, 16-byte aligned. */
	const void *round_keys;
	/* SHA-1 states after the inner and the outer padded key. */
	const void *inner;
	const void *outer;
	/* The packet from its first authenticated byte on. */
	uint8_t *packet;
	/* Initial counter block, 16 bytes. */
	const uint8_t *counter;
	/* Receives the first 12 bytes of the HMAC. */
	uint8_t *tag;
	uint32_t cipher_start;
	uint32_t cipher_len;
	uint32_t authenticated_len;
	/* 16 or 32. */
	uint32_t key_len;
};

/* Opens the library; the first call does the work. */
int vx_imb_open(struct vx_imb_functions *functions);

/* State of the multi-buffer functions, for one thread at a time. NULL if there is no memory. */
void *vx_imb_batch_new(void);
void vx_imb_batch_free(void *batch);

/* Computes the tags of at most VX_IMB_MAX_BURST packets of any keys. */
void vx_imb_hmac(void *batch, const struct vx_imb_counter_hmac *packets, unsigned int count);

/* Encrypts or, which is the same, decrypts one packet. */
void vx_imb_counter(void *batch, const struct vx_imb_counter_hmac *packet);

#endif
