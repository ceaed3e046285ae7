-- Replays a file that `voxload pcap` wrote, once, through Pktgen-DPDK, and compares what was sent with what came back.
-- See README.md beside this file. Environment: PACKETS (packets of the file), RATE (percent of the line), REMOTE
-- (address and prefix of the sessions' remotes on the gateway's port b).
package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;../?.lua"
require "Pktgen"

local send_port, receive_port = "0", "1"
local packets = tonumber(os.getenv("PACKETS") or "100000")
local rate = tonumber(os.getenv("RATE") or "10")
local remote = os.getenv("REMOTE") or "10.2.0.2/24"
-- Milliseconds without any packet after which the rest counts as lost.
local quiet_ms = 2000

local function received()
    return pktgen.portStats(receive_port, "port")[tonumber(receive_port)].ipackets
end

local function sent()
    return pktgen.portStats(send_port, "port")[tonumber(send_port)].opackets
end

pktgen.stop("all")
pktgen.clear("all")
pktgen.clr()
-- The gateway asks for the remote's MAC address before it relays anything.
pktgen.set_ipaddr(receive_port, "src", remote)
pktgen.icmp_echo(receive_port, "on")
pktgen.process(receive_port, "on")
pktgen.pcap(send_port, "on")
pktgen.set(send_port, "rate", rate)
pktgen.set(send_port, "count", packets)

local sent_before, received_before = sent(), received()
pktgen.start(send_port)
local last, quiet = -1, 0
while quiet < quiet_ms do
    pktgen.delay(100)
    local now = sent() + received()
    if now == last then quiet = quiet + 100 else quiet = 0 end
    last = now
end
pktgen.stop(send_port)

local out, back = sent() - sent_before, received() - received_before
printf("sent %d, came back %d, missing %d\n", out, back, out - back)
printf("compare with voxlane_rx_packets_total{port=\"a\"}, voxlane_tx_packets_total{port=\"a\"} and\n")
printf("voxlane_dropped_packets_total{port=\"a\"} on the gateway's metrics page\n")
