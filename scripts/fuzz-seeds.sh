#!/usr/bin/env bash
# Captures real traffic and makes the fuzz targets' seeds of it: GStreamer's packets of each codec with their RTCP, a
# network namespace's ARP, ND and ICMP, voxload's SRTP with and without a VLAN tag. The seeds are in the repository; run this when there
# is a new format.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_root fuzz-seeds
need_packages "${BUILD_PACKAGES[@]}" tcpdump iproute2 iputils-ping gstreamer1.0-tools gstreamer1.0-plugins-base \
    gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav
need_rust "$RUST_VERSION"

captures=$(mktemp -d)
caller="voxlane-seeds-$$-a"
callee="voxlane-seeds-$$-b"
clean() {
    ip netns delete "$caller" 2>/dev/null || true
    ip netns delete "$callee" 2>/dev/null || true
    rm -rf "$captures"
}
trap clean EXIT

# NAME CAPS-AND-PAYLOADER: five packets of a tone, one file each.
rtp() {
    gst-launch-1.0 -q audiotestsrc num-buffers=30 samplesperbuffer=960 ! audioconvert ! audioresample ! $2 \
        ! multifilesink location="$captures/rtp-$1-%02d" max-files=5
}
rtp opus "audio/x-raw,rate=48000,channels=2 ! opusenc frame-size=20 ! rtpopuspay"
rtp pcmu "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay max-ptime=20000000"
rtp pcma "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay max-ptime=20000000"
rtp g722 "audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! rtpg722pay max-ptime=20000000"
rtp l16 "audio/x-raw,rate=44100,channels=2,format=S16BE ! rtpL16pay max-ptime=5000000"
rtp aac "audio/x-raw,rate=48000,channels=2 ! voaacenc ! aacparse ! rtpmp4gpay"
gst-launch-1.0 -q audiotestsrc num-buffers=30 ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 \
    ! voaacenc ! aacparse ! audio/mpeg,stream-format=adts ! multifilesink location="$captures/adts-%02d" max-files=5
gst-launch-1.0 -q rtpdtmfsrc num-buffers=5 ! multifilesink location="$captures/rtp-dtmf-%02d" max-files=5 &
dtmf=$!
# One report a second or so.
gst-launch-1.0 -q rtpbin name=bin audiotestsrc is-live=true num-buffers=500 ! opusenc ! rtpopuspay ! bin.send_rtp_sink_0 \
    bin.send_rtp_src_0 ! fakesink bin.send_rtcp_src_0 ! multifilesink location="$captures/rtcp-%02d" max-files=5
kill "$dtmf" 2>/dev/null || true
wait "$dtmf" 2>/dev/null || true
# GStreamer's source waits for somebody to press a key: digit 5, in three reports of RFC 4733 and its end.
if ! ls "$captures"/rtp-dtmf-* >/dev/null 2>&1; then
    printf '\x80\x65\x00\x01\x00\x00\x00\x00\x01\x02\x03\x04\x05\x0a\x00\xa0' > "$captures/rtp-dtmf-00"
    printf '\x80\x65\x00\x02\x00\x00\x00\x00\x01\x02\x03\x04\x05\x8a\x03\x20' > "$captures/rtp-dtmf-01"
fi

ip netns add "$caller"
ip netns add "$callee"
ip -n "$caller" link add name media type veth peer name media netns "$callee"
number=1
for namespace in "$caller" "$callee"; do
    ip -n "$namespace" address add "10.1.0.$number/24" dev media
    ip -n "$namespace" address add "2001:db8::$number/64" dev media nodad
    ip -n "$namespace" link set media up
    number=2
done
ip netns exec "$caller" tcpdump -i media -w "$captures/network.pcap" -U 2>"$captures/tcpdump.log" &
tcpdump=$!
until grep -q listening "$captures/tcpdump.log"; do sleep 0.1; done
ip netns exec "$caller" ping -q -c 2 -w 10 10.1.0.2 >/dev/null
ip netns exec "$caller" ping -q -c 2 -w 10 2001:db8::2 >/dev/null
sleep 0.5
kill "$tcpdump"
wait "$tcpdump" 2>/dev/null || true

target="${CARGO_TARGET_DIR:-target}"
[ -x "$target/release/voxload" ] || cargo build --release --locked --workspace
cp fuzz/voxlane.toml "$captures/voxlane.toml"
"$target/release/voxload" sessions --count 3 > "$captures/sessions.jsonl"
"$target/release/voxload" pcap --config "$captures/voxlane.toml" --port a --count 6 --seed 7 --output "$captures/voxload.pcap"
sed 's/^name = "a"/&\nvlan = 7/' "$captures/voxlane.toml" > "$captures/tagged.toml"
"$target/release/voxload" pcap --config "$captures/tagged.toml" --port a --count 3 --seed 7 --output "$captures/tagged.pcap"

CAPTURES="$captures" cargo test --manifest-path fuzz/Cargo.toml --target-dir "$target" --locked --test make_seeds -- --ignored
