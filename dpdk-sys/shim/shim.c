/* See shim.h. Every function is a thin pass-through; no policy lives here. */
#include "shim.h"

#include <errno.h>
#include <string.h>

#include <rte_byteorder.h>

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

/* One reference more; returns how many there are now. */
uint16_t vx_mbuf_share(struct rte_mbuf *frame) { return rte_mbuf_refcnt_update(frame, 1); }

/* The frame itself if nobody else refers to it, else a copy from the same pool (NULL if that is empty), for which one
 * reference to the frame is given up. */
struct rte_mbuf *vx_mbuf_private(struct rte_mbuf *frame)
{
	struct rte_mbuf *copy;

	if (rte_mbuf_refcnt_read(frame) == 1) {
		rte_smp_rmb();
		return frame;
	}
	copy = rte_pktmbuf_copy(frame, frame->pool, 0, UINT32_MAX);
	rte_pktmbuf_free(frame);
	return copy;
}

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
	/* A stream's packets then keep their queue wherever they come from. */
	if ((device.flow_type_rss_offloads & RTE_ETH_RSS_L4_DST_ONLY) != 0)
		rss = RTE_ETH_RSS_UDP | RTE_ETH_RSS_L4_DST_ONLY;
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

/* What the started port says about its spreading; an error of the driver if it does not say. */
int vx_port_rss(uint16_t port, struct vx_rss *rss)
{
	struct rte_eth_rss_reta_entry64 reta[VX_RSS_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	struct rte_eth_dev_info device;
	struct rte_eth_rss_conf conf;
	uint16_t entry;
	int status = rte_eth_dev_info_get(port, &device);

	if (status != 0)
		return status;
	memset(rss, 0, sizeof(*rss));
	if (device.reta_size == 0 || device.reta_size > VX_RSS_RETA_MAX || device.hash_key_size > VX_RSS_KEY_MAX)
		return -ENOTSUP;
	memset(&conf, 0, sizeof(conf));
	conf.rss_key = rss->key;
	/* Drivers that do not tell the size of their key have Microsoft's, of 40 bytes. */
	conf.rss_key_len = device.hash_key_size != 0 ? device.hash_key_size : 40;
	rss->key_len = conf.rss_key_len;
	status = rte_eth_dev_rss_hash_conf_get(port, &conf);
	if (status != 0)
		return status;
	rss->udp_ipv4 = (conf.rss_hf & RTE_ETH_RSS_NONFRAG_IPV4_UDP) != 0;
	rss->udp_ipv6 = (conf.rss_hf & RTE_ETH_RSS_NONFRAG_IPV6_UDP) != 0;
	rss->l4_dst_only = (conf.rss_hf & RTE_ETH_RSS_L4_DST_ONLY) != 0;
	memset(reta, 0, sizeof(reta));
	for (entry = 0; entry < device.reta_size; entry++)
		reta[entry / RTE_ETH_RETA_GROUP_SIZE].mask |= UINT64_C(1) << (entry % RTE_ETH_RETA_GROUP_SIZE);
	status = rte_eth_dev_rss_reta_query(port, reta, device.reta_size);
	if (status != 0)
		return status;
	rss->reta_size = device.reta_size;
	for (entry = 0; entry < device.reta_size; entry++)
		rss->reta[entry] = reta[entry / RTE_ETH_RETA_GROUP_SIZE].reta[entry % RTE_ETH_RETA_GROUP_SIZE];
	return 0;
}

/* Fills the redirection table with the queues in turn. */
int vx_port_rss_spread(uint16_t port, uint16_t queues)
{
	struct rte_eth_rss_reta_entry64 reta[VX_RSS_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
	struct rte_eth_dev_info device;
	uint16_t entry;
	int status = rte_eth_dev_info_get(port, &device);

	if (status != 0)
		return status;
	if (queues == 0 || device.reta_size == 0 || device.reta_size > VX_RSS_RETA_MAX)
		return -ENOTSUP;
	memset(reta, 0, sizeof(reta));
	for (entry = 0; entry < device.reta_size; entry++) {
		reta[entry / RTE_ETH_RETA_GROUP_SIZE].mask |= UINT64_C(1) << (entry % RTE_ETH_RETA_GROUP_SIZE);
		reta[entry / RTE_ETH_RETA_GROUP_SIZE].reta[entry % RTE_ETH_RETA_GROUP_SIZE] = entry % queues;
	}
	return rte_eth_dev_rss_reta_update(port, reta, device.reta_size);
}

/* A flow rule: UDP to this address (4 or 16 bytes, network order) and port goes to `queue`. Made only if the driver
 * validates it. */
int vx_port_steer_udp(uint16_t port, const uint8_t *address, size_t address_len, uint16_t udp_port, uint16_t queue)
{
	struct rte_flow_attr attr = { .ingress = 1 };
	struct rte_flow_item_ipv4 ipv4 = { 0 }, ipv4_mask = { 0 };
	struct rte_flow_item_ipv6 ipv6, ipv6_mask;
	struct rte_flow_item_udp udp = { 0 }, udp_mask = { 0 };
	struct rte_flow_item pattern[4];
	struct rte_flow_action_queue to = { .index = queue };
	struct rte_flow_action actions[2];
	struct rte_flow_error error;
	int status;

	memset(pattern, 0, sizeof(pattern));
	memset(actions, 0, sizeof(actions));
	memset(&ipv6, 0, sizeof(ipv6));
	memset(&ipv6_mask, 0, sizeof(ipv6_mask));
	memset(&error, 0, sizeof(error));
	pattern[0].type = RTE_FLOW_ITEM_TYPE_ETH;
	if (address_len == 4) {
		memcpy(&ipv4.hdr.dst_addr, address, 4);
		memset(&ipv4_mask.hdr.dst_addr, 0xff, 4);
		pattern[1].type = RTE_FLOW_ITEM_TYPE_IPV4;
		pattern[1].spec = &ipv4;
		pattern[1].mask = &ipv4_mask;
	} else if (address_len == 16) {
		memcpy(&ipv6.hdr.dst_addr, address, 16);
		memset(&ipv6_mask.hdr.dst_addr, 0xff, 16);
		pattern[1].type = RTE_FLOW_ITEM_TYPE_IPV6;
		pattern[1].spec = &ipv6;
		pattern[1].mask = &ipv6_mask;
	} else {
		return -EINVAL;
	}
	udp.hdr.dst_port = rte_cpu_to_be_16(udp_port);
	udp_mask.hdr.dst_port = 0xffff;
	pattern[2].type = RTE_FLOW_ITEM_TYPE_UDP;
	pattern[2].spec = &udp;
	pattern[2].mask = &udp_mask;
	pattern[3].type = RTE_FLOW_ITEM_TYPE_END;
	actions[0].type = RTE_FLOW_ACTION_TYPE_QUEUE;
	actions[0].conf = &to;
	actions[1].type = RTE_FLOW_ACTION_TYPE_END;
	status = rte_flow_validate(port, &attr, pattern, actions, &error);
	if (status != 0)
		return status < 0 ? status : -status;
	return rte_flow_create(port, &attr, pattern, actions, &error) != NULL ? 0 : -rte_errno;
}

int vx_port_steer_flush(uint16_t port)
{
	struct rte_flow_error error;

	return rte_flow_flush(port, &error);
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
