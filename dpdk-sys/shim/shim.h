/* What voxlane needs of DPDK and cannot call or read directly from Rust: static inline functions, macros,
 * thread-local variables, and the layout of structures that differs between releases. */
#ifndef VOXLANE_DPDK_SHIM_H
#define VOXLANE_DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Offsets of the mbuf fields that the packet path reads and writes inline. */
enum {
	VX_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	VX_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	VX_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	VX_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	VX_MBUF_PORT = offsetof(struct rte_mbuf, port),
	VX_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	VX_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	VX_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	VX_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	VX_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload),
	VX_MBUF_SIZE = sizeof(struct rte_mbuf),
	VX_PKTMBUF_HEADROOM = RTE_PKTMBUF_HEADROOM,
	VX_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE,
	VX_BUILD_VERSION_YEAR = RTE_VER_YEAR,
	VX_BUILD_VERSION_MONTH = RTE_VER_MONTH,
	VX_L2_LEN_BITS = RTE_MBUF_L2_LEN_BITS,
	VX_L3_LEN_BITS = RTE_MBUF_L3_LEN_BITS,
	VX_RSS_KEY_MAX = 64,
	VX_RSS_RETA_MAX = 2048,
};

/* 64-bit flag macros, which an enum cannot hold and bindgen cannot evaluate. */
static const uint64_t VX_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t VX_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t VX_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t VX_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t VX_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t VX_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t VX_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t VX_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t VX_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t VX_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;

/* The part of rte_eth_dev_info, rte_eth_conf and rte_eth_stats that voxlane uses. */
struct vx_port_info {
	uint8_t mac[6];
	uint8_t rx_ipv4_checksum;
	uint8_t rx_udp_checksum;
	uint8_t tx_ipv4_checksum;
	uint8_t tx_udp_checksum;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t min_mtu;
	uint16_t max_mtu;
	int32_t socket_id;
	uint64_t rss_types;
	char driver[32];
};

struct vx_port_config {
	uint16_t queues;
	uint16_t mtu;
	uint8_t rx_ipv4_checksum;
	uint8_t rx_udp_checksum;
	uint8_t tx_ipv4_checksum;
	uint8_t tx_udp_checksum;
};

struct vx_port_stats {
	uint64_t rx_packets;
	uint64_t tx_packets;
	uint64_t rx_missed;
	uint64_t rx_errors;
	uint64_t tx_errors;
	uint64_t rx_no_buffer;
};

/* How a port spreads received packets over its queues (RSS). */
struct vx_rss {
	/* Whether UDP over IPv4 and over IPv6 is hashed, and whether its destination port is all that is. */
	uint8_t udp_ipv4;
	uint8_t udp_ipv6;
	uint8_t l4_dst_only;
	uint8_t key_len;
	/* Entries of the redirection table. */
	uint16_t reta_size;
	uint8_t key[VX_RSS_KEY_MAX];
	uint16_t reta[VX_RSS_RETA_MAX];
};

struct vx_link {
	uint8_t up;
	uint32_t speed_mbps;
};

/* The fields of one mbuf as C sees them, for the start-up self-check of the offsets above. */
struct vx_mbuf_view {
	void *buf_addr;
	uint16_t data_off;
	uint16_t refcnt;
	uint16_t nb_segs;
	uint16_t port;
	uint64_t ol_flags;
	uint32_t pkt_len;
	uint16_t data_len;
	uint16_t buf_len;
	uint64_t tx_offload;
};

int vx_errno(void);
unsigned int vx_lcore_id(void);
unsigned int vx_lcore_id_any(void);

uint16_t vx_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);
uint16_t vx_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count);

struct rte_mbuf *vx_mbuf_alloc(struct rte_mempool *pool);
int vx_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count);
void vx_mbuf_free(struct rte_mbuf *frame);
uint16_t vx_mbuf_share(struct rte_mbuf *frame);
struct rte_mbuf *vx_mbuf_private(struct rte_mbuf *frame);
void vx_mbuf_view(const struct rte_mbuf *frame, struct vx_mbuf_view *view);
uint32_t vx_mempool_size(const struct rte_mempool *pool);

int vx_port_info(uint16_t port, struct vx_port_info *info);
int vx_port_configure(uint16_t port, const struct vx_port_config *config);
int vx_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool);
int vx_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors);
int vx_port_mac_set(uint16_t port, const uint8_t mac[6]);
int vx_port_stats(uint16_t port, struct vx_port_stats *stats);
int vx_port_link(uint16_t port, struct vx_link *link);
int vx_port_rss(uint16_t port, struct vx_rss *rss);
int vx_port_rss_spread(uint16_t port, uint16_t queues);
int vx_port_steer_udp(uint16_t port, const uint8_t *address, size_t address_len, uint16_t udp_port, uint16_t queue);
int vx_port_steer_flush(uint16_t port);
int vx_port_remove(uint16_t port);

#endif
