/* See shim.h. Every function is a thin pass-through; no policy lives here. */
#include "shim.h"

#include <string.h>

int vx_errno(void) { return rte_errno; }

unsigned int vx_lcore_id(void) { return rte_lcore_id(); }

unsigned int vx_lcore_id_any(void) { return LCORE_ID_ANY; }

uint16_t vx_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, frames, count);
}

uint16_t vx_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **frames, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, frames, count);
}

struct rte_mbuf *vx_mbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }

int vx_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **frames, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, frames, count);
}

void vx_mbuf_free(struct rte_mbuf *frame) { rte_pktmbuf_free(frame); }

void vx_mbuf_view(const struct rte_mbuf *frame, struct vx_mbuf_view *view)
{
	view->buf_addr = frame->buf_addr;
	view->data_off = frame->data_off;
	view->refcnt = rte_mbuf_refcnt_read(frame);
	view->nb_segs = frame->nb_segs;
	view->port = frame->port;
	view->ol_flags = frame->ol_flags;
	view->pkt_len = frame->pkt_len;
	view->data_len = frame->data_len;
	view->buf_len = frame->buf_len;
	view->tx_offload = frame->tx_offload;
}

uint32_t vx_mempool_size(const struct rte_mempool *pool) { return pool->size; }

int vx_port_info(uint16_t port, struct vx_port_info *info)
{
	struct rte_eth_dev_info device;
	struct rte_ether_addr mac;
	int status = rte_eth_dev_info_get(port, &device);

	if (status != 0)
		return status;
	status = rte_eth_macaddr_get(port, &mac);
	if (status != 0)
		return status;
	memset(info, 0, sizeof(*info));
	memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
	info->rx_ipv4_checksum = (device.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0;
	info->rx_udp_checksum = (device.rx_offload_capa & RTE_ETH_RX_OFFLOAD_UDP_CKSUM) != 0;
	info->tx_ipv4_checksum = (device.tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
	info->tx_udp_checksum = (device.tx_offload_capa & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0;
	info->max_rx_queues = device.max_rx_queues;
	info->max_tx_queues = device.max_tx_queues;
	info->min_mtu = device.min_mtu;
	info->max_mtu = device.max_mtu;
	info->socket_id = rte_eth_dev_socket_id(port);
	info->rss_types = device.flow_type_rss_offloads;
	strncpy(info->driver, device.driver_name, sizeof(info->driver) - 1);
	return 0;
}

int vx_port_configure(uint16_t port, const struct vx_port_config *config)
{
	struct rte_eth_conf conf;
	struct rte_eth_dev_info device;
	uint64_t rss = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP;
	int status = rte_eth_dev_info_get(port, &device);

	if (status != 0)
		return status;
	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mtu = config->mtu;
	if (config->rx_ipv4_checksum)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
	if (config->rx_udp_checksum)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
	if (config->tx_ipv4_checksum)
		conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
	if (config->tx_udp_checksum)
		conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
	rss &= device.flow_type_rss_offloads;
	if (config->queues > 1 && rss != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = rss;
	}
	return rte_eth_dev_configure(port, config->queues, config->queues, &conf);
}

int vx_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool)
{
	return rte_eth_rx_queue_setup(port, queue, descriptors, rte_eth_dev_socket_id(port), NULL, pool);
}

int vx_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors)
{
	return rte_eth_tx_queue_setup(port, queue, descriptors, rte_eth_dev_socket_id(port), NULL);
}

int vx_port_mac_set(uint16_t port, const uint8_t mac[6])
{
	struct rte_ether_addr address;

	memcpy(address.addr_bytes, mac, sizeof(address.addr_bytes));
	return rte_eth_dev_default_mac_addr_set(port, &address);
}

int vx_port_stats(uint16_t port, struct vx_port_stats *stats)
{
	struct rte_eth_stats eth;
	int status = rte_eth_stats_get(port, &eth);

	if (status != 0)
		return status;
	stats->rx_packets = eth.ipackets;
	stats->tx_packets = eth.opackets;
	stats->rx_missed = eth.imissed;
	stats->rx_errors = eth.ierrors;
	stats->tx_errors = eth.oerrors;
	stats->rx_no_buffer = eth.rx_nombuf;
	return 0;
}

int vx_port_link(uint16_t port, struct vx_link *link)
{
	struct rte_eth_link state;
	int status = rte_eth_link_get_nowait(port, &state);

	if (status != 0)
		return status;
	link->up = state.link_status == RTE_ETH_LINK_UP;
	link->speed_mbps = state.link_speed;
	return 0;
}

/* Closes the device behind the port and takes it off its bus, so that the same name can be attached again. */
int vx_port_remove(uint16_t port)
{
	struct rte_eth_dev_info device;
	int status = rte_eth_dev_info_get(port, &device);

	if (status != 0)
		return status;
	status = rte_eth_dev_close(port);
	if (device.device != NULL)
		rte_dev_remove(device.device);
	return status;
}
