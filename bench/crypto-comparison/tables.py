#!/usr/bin/env python3
"""Renders the tables of README.md from a result file, between its marker lines.

    tables.py RESULT.json README.md
"""
import json
import os
import re
import sys


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def variants(figures):
    """The variants in the order in which they were measured, with what was."""
    found = {}
    for name, figure in figures.items():
        variant, sessions, what = name.removeprefix("crypto.").rsplit(".", 2)
        found.setdefault(variant, {})[int(sessions), what] = figure
    return found


def cell(figure):
    return f"{figure['value']:.0f} ({figure['min']:.0f}–{figure['max']:.0f})"


def by_sessions(found, prefix):
    """ns per packet of each variant of a suite by number of sessions."""
    rows = {v: f for v, f in found.items()
            if v.startswith(prefix) and not re.search(r"\.b\d+$", v)}
    counts = sorted({n for f in rows.values() for n, _ in f})
    best = {n: min(f[n, "ns_per_packet"]["value"] for f in rows.values()) for n in counts}
    out = ["| variant | " + " | ".join(f"{n:,}" for n in counts) + " | seal / open at "
           f"{counts[0]:,} | at {counts[-1]:,} |",
           "|---" * (len(counts) + 3) + "|"]
    for variant, figures in rows.items():
        cells = []
        for n in counts:
            figure = figures[n, "ns_per_packet"]
            text = cell(figure)
            cells.append(f"**{text}**" if figure["value"] == best[n] else text)
        for n in (counts[0], counts[-1]):
            cells.append(f"{figures[n, 'seal_ns']['value']:.0f} / "
                         f"{figures[n, 'open_ns']['value']:.0f}")
        out.append(f"| `{variant}` | " + " | ".join(cells) + " |")
    return out


def by_burst(found):
    """ns per packet of the cipher and hash bursts by packets in a burst."""
    columns = {}
    for variant, figures in found.items():
        match = re.fullmatch(r"(cm-split-nocheck[^.]*)(\.mixed)?\.b(\d+)", variant)
        if match:
            (figure,) = [f for (_, what), f in figures.items() if what == "ns_per_packet"]
            row = (match[2] is not None, int(match[3]))
            columns.setdefault(match[1], {})[row] = figure
    bursts = sorted({b for f in columns.values() for b in f})
    out = ["| packets in a burst | " + " | ".join(f"`{c}`" for c in columns) + " |",
           "|---" * (len(columns) + 1) + "|"]
    for burst in bursts:
        least = min(f[burst]["value"] for f in columns.values())
        cells = []
        for figures in columns.values():
            text = cell(figures[burst])
            cells.append(f"**{text}**" if figures[burst]["value"] == least else text)
        mixed, packets = burst
        what = f"{packets}, payloads of 20 to 160 bytes" if mixed else f"{packets}"
        out.append(f"| {what} | " + " | ".join(cells) + " |")
    return out


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    result, readme = sys.argv[1:]
    data = load(result)
    found = variants(data["figures"])
    packet = data["packet"]
    link = os.path.relpath(result, os.path.dirname(os.path.abspath(readme)))
    versions = ", ".join(f"{k} {v.removeprefix('DPDK ')}" for k, v in data["versions"].items())
    out = [f"From [`{os.path.basename(result)}`]({link}): {data['machine']}; {versions}; "
           f"`{data['command']}`. Nanoseconds per packet for open and seal together, median "
           "(min–max) of the runs; bold is the least of its column.", "",
           f"AEAD_AES_128_GCM, {packet['payload_bytes']}-byte payload, by number of sessions, "
           f"burst {packet['burst']}:", ""]
    out += by_sessions(found, "gcm-")
    out += ["", "AES_CM_128_HMAC_SHA1_80, the same:", ""]
    out += by_sessions(found, "cm-")
    out += ["", "AES_CM_128_HMAC_SHA1_80 by packets in a burst, 1,000 sessions:", ""]
    out += by_burst(found)
    sizes = {}
    for variant, size in data["session_bytes"].items():
        sizes[re.sub(r"^\w+-(enqueue|cpu-crypto)-|-(none|whole|lines.*)$", "", variant)] = size
    out += ["", "Bytes of one key (two are needed per packet): `gcm_key_data` 1008, AES-CM with HMAC "
            "216; a cryptodev session object, with the mempool's: "
            + ", ".join(f"{k} {v}" for k, v in sizes.items()) + ".", "",
            "Bytes of `gcm_key_data` that decide the result, by payload:", "", "```"]
    out += data["gcm_key_bytes_that_matter"] + ["```"]
    if not os.path.exists(readme):
        sys.exit(f"{readme}: not found")
    with open(readme, encoding="utf-8") as f:
        text = f.read()
    begin, end = "<!-- tables.py: begin -->\n", "<!-- tables.py: end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{readme}: needs the lines {begin.strip()} and {end} once each")
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    with open(readme, "w", encoding="utf-8") as f:
        f.write(head + begin + "\n".join(out) + "\n" + end + tail)


if __name__ == "__main__":
    main()
