/* Measures every way to open and seal SRTP packets that this machine offers in
 * C: intel-ipsec-mb's calls, and DPDK's cryptodev over them. See README.md.
 *
 *   compare [--out FILE] [--runs N] [--packets N] [--sessions N,N,...]
 *           [--filter TEXT] [--core N] [--machine TEXT] [--check | --footprint] */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_version.h>

#include "compare.h"

#define MAX_VARIANTS 128
#define MAX_COUNTS 8
#define MAX_RUNS 31
#define SLICE_PACKETS 640 /* packets of one slice of a run, about */
#define MAX_SLICES 4096
#define SEQUENCE (1u << 20) /* random sessions before they repeat */

struct packet packets[MAX_BURST];
uint8_t *gcm_seal_keys, *gcm_open_keys;
struct cm_key *cm_seal_keys, *cm_open_keys;
uint64_t auth_failures;

static struct variant variants[MAX_VARIANTS];
static unsigned variant_count;
static uint32_t sequence[SEQUENCE + 2 * MAX_BURST];
static unsigned default_burst = 32;

/* ns per packet of one run: both stages, and each. */
struct run { double both, seal, open; };
static struct run runs[MAX_VARIANTS][MAX_COUNTS][MAX_RUNS];

void die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("compare: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

struct variant *add_variant(const char *name, enum suite suite)
{
	if (variant_count == MAX_VARIANTS)
		die("more than %d variants", MAX_VARIANTS);
	struct variant *v = &variants[variant_count++];
	snprintf(v->name, sizeof(v->name), "%s", name);
	v->suite = suite;
	return v;
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

void session_key(uint32_t session, uint8_t cipher[16], uint8_t auth[20])
{
	uint64_t words[5];
	for (unsigned i = 0; i < 5; i++)
		words[i] = mix(((uint64_t)session << 3) + i);
	memcpy(cipher, words, 16);
	memcpy(auth, words + 2, 20);
}

static void *hugepages(size_t bytes)
{
	void *p = rte_zmalloc(NULL, bytes, 64);
	if (p == NULL)
		die("no hugepages for %zu MiB: raise vm.nr_hugepages", bytes >> 20);
	return p;
}

/* RFC 2104: the state after the padded key, which every message starts from. */
static void hmac_pad(IMB_MGR *mgr, const uint8_t key[20], uint8_t with, uint8_t out[20])
{
	uint8_t block[64] = { 0 }, digest[32];
	memcpy(block, key, 20);
	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] ^= with;
	IMB_SHA1_ONE_BLOCK(mgr, block, digest);
	memcpy(out, digest, 20);
}

static void make_keys(uint32_t sessions)
{
	IMB_MGR *mgr = alloc_mb_mgr(0);
	if (mgr == NULL)
		die("alloc_mb_mgr: no memory");
	init_mb_mgr_auto(mgr, NULL);
	gcm_seal_keys = hugepages((size_t)sessions * KEY_STRIDE);
	gcm_open_keys = hugepages((size_t)sessions * KEY_STRIDE);
	cm_seal_keys = hugepages(sessions * sizeof(struct cm_key));
	cm_open_keys = hugepages(sessions * sizeof(struct cm_key));
	for (uint32_t i = 0; i < sessions; i++) {
		uint8_t cipher[16], auth[20], unused[16 * 11] __attribute__((aligned(16)));
		struct cm_key *key = &cm_seal_keys[i];
		session_key(i, cipher, auth);
		IMB_AES128_GCM_PRE(mgr, cipher,
				   (void *)(gcm_seal_keys + (size_t)i * KEY_STRIDE));
		IMB_AES128_GCM_PRE(mgr, cipher,
				   (void *)(gcm_open_keys + (size_t)i * KEY_STRIDE));
		IMB_AES_KEYEXP_128(mgr, cipher, key->schedule, unused);
		hmac_pad(mgr, auth, 0x36, key->ipad);
		hmac_pad(mgr, auth, 0x5c, key->opad);
		cm_open_keys[i] = *key;
	}
	free_mb_mgr(mgr);
}

static void fill_packet(unsigned i)
{
	packets[i].payload = PAYLOAD;
	for (unsigned b = 0; b < RTP_HEADER + PAYLOAD; b++)
		packets[i].rtp[b] = (uint8_t)(b * 7 + i);
}

static void make_packets(void)
{
	struct rte_mempool *pool =
		rte_pktmbuf_pool_create("packets", MAX_BURST, 0, 0, 2176, 0);
	uint8_t *ivs = hugepages(MAX_BURST * 64);
	if (pool == NULL)
		die("no memory for %d mbufs", MAX_BURST);
	for (unsigned i = 0; i < MAX_BURST; i++) {
		struct packet *p = &packets[i];
		p->mbuf = rte_pktmbuf_alloc(pool);
		if (p->mbuf == NULL)
			die("mbuf %u: none left in its pool", i);
		/* after Ethernet, IPv4 and UDP: as unaligned as on the wire */
		p->rtp = (uint8_t *)rte_pktmbuf_append(p->mbuf, 42 + RTP_HEADER + PAYLOAD +
						       GCM_TAG) + 42;
		rte_pktmbuf_adj(p->mbuf, 42);
		p->iv = ivs + 64 * i;
		fill_packet(i);
	}
}

/* Every variant of a suite must make the same packets, give the text back, and
 * refuse a packet of which one bit is wrong. */
static void check(const struct variant *v, uint32_t sessions)
{
	static uint8_t expected[2][MAX_BURST][RTP_HEADER + PAYLOAD + GCM_TAG];
	static const struct variant *first[2];
	uint8_t text[RTP_HEADER + PAYLOAD];
	uint32_t seq[3 * MAX_BURST];
	unsigned n = MAX_BURST, tag = v->suite == SUITE_GCM ? GCM_TAG : CM_TAG;
	unsigned bytes = RTP_HEADER + PAYLOAD + tag;
	for (unsigned i = 0; i < RTE_DIM(seq); i++)
		seq[i] = mix(i) % sessions;
	for (unsigned i = 0; i < n; i++)
		fill_packet(i);
	auth_failures = 0;
	v->seal(v, seq, n);
	for (unsigned i = 0; i < n; i++) {
		if (first[v->suite] == NULL || first[v->suite] == v)
			memcpy(expected[v->suite][i], packets[i].rtp, bytes);
		else if (memcmp(expected[v->suite][i], packets[i].rtp, bytes) != 0)
			die("%s seals packet %u otherwise than %s", v->name, i,
			    first[v->suite]->name);
	}
	if (first[v->suite] == NULL)
		first[v->suite] = v;
	v->open(v, seq, n);
	if (auth_failures != 0)
		die("%s refuses %lu of its own packets", v->name, auth_failures);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned b = 0; b < sizeof(text); b++)
			text[b] = (uint8_t)(b * 7 + i);
		if (memcmp(text, packets[i].rtp, sizeof(text)) != 0)
			die("%s does not give packet %u back", v->name, i);
	}
	v->seal(v, seq, n);
	packets[3].rtp[0] ^= 1;               /* header */
	packets[7].rtp[RTP_HEADER + 159] ^= 4; /* last byte of the payload */
	packets[9].rtp[bytes - 1] ^= 128;     /* last byte of the tag */
	v->open(v, seq, n);
	if (auth_failures != 3)
		die("%s refused %lu of 3 forged packets", v->name, auth_failures);
	auth_failures = 0;
	for (unsigned i = 0; i < n; i++)
		fill_packet(i);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), by_value);
	return values[count / 2];
}

/* A run is cut into slices of a fraction of a millisecond, and its value is the
 * median slice: a slice in which the core was given to another process says
 * nothing about the variant. */
static struct run measure(const struct variant *v, uint64_t count, uint32_t *at)
{
	static double both[MAX_SLICES], seals[MAX_SLICES], opens[MAX_SLICES];
	unsigned n = v->burst ? v->burst : default_burst;
	unsigned bursts = SLICE_PACKETS / n;
	uint64_t slices = count / SLICE_PACKETS;
	double ns = 1e9 / (double)rte_get_tsc_hz() / (double)(bursts * n);
	for (unsigned i = 0; i < MAX_BURST; i++)
		packets[i].payload = v->mixed ? 20 + mix(i) % (PAYLOAD - 19) : PAYLOAD;
	slices = slices < 1 ? 1 : slices > MAX_SLICES ? MAX_SLICES : slices;
	for (unsigned s = 0; s < slices; s++) {
		uint64_t seal = 0, open = 0;
		for (unsigned i = 0; i < bursts; i++) {
			const uint32_t *seq = &sequence[*at];
			uint64_t start = rte_rdtsc();
			v->seal(v, seq, n);
			uint64_t middle = rte_rdtsc();
			v->open(v, seq, n);
			open += rte_rdtsc() - middle;
			seal += middle - start;
			*at = (*at + n) % SEQUENCE;
		}
		both[s] = (double)(seal + open) * ns;
		seals[s] = (double)seal * ns;
		opens[s] = (double)open * ns;
	}
	if (auth_failures != 0)
		die("%s: %lu packets did not verify", v->name, auth_failures);
	return (struct run){ median(both, slices), median(seals, slices),
			     median(opens, slices) };
}

static void make_sequence(uint32_t sessions)
{
	for (unsigned i = 0; i < RTE_DIM(sequence); i++)
		sequence[i] = mix(0x5eed + i) % sessions;
	/* the burst after the last is the first */
	memcpy(sequence + SEQUENCE, sequence, 2 * MAX_BURST * sizeof(*sequence));
}

static void write_figure(FILE *f, const char *variant, uint32_t sessions,
			 const char *what, const struct run *run, unsigned count,
			 size_t field, bool *comma)
{
	double values[MAX_RUNS], sorted[MAX_RUNS];
	for (unsigned i = 0; i < count; i++)
		memcpy(&values[i], (const char *)&run[i] + field, sizeof(double));
	memcpy(sorted, values, count * sizeof(*values));
	double middle = median(sorted, count); /* sorts */
	fprintf(f, "%s\n    \"crypto.%s.%u.%s\": {\"value\": %.1f, \"unit\": \"ns\", "
		   "\"min\": %.1f, \"max\": %.1f, \"runs\": [",
		*comma ? "," : "", variant, sessions, what, middle, sorted[0],
		sorted[count - 1]);
	for (unsigned i = 0; i < count; i++)
		fprintf(f, "%s%.1f", i ? ", " : "", values[i]);
	fputs("]}", f);
	*comma = true;
}

static void write_json(const char *path, const char *machine, const uint32_t *counts,
		       unsigned count_count, unsigned run_count, uint64_t packet_count)
{
	FILE *f = path ? fopen(path, "w") : stdout;
	bool comma = false;
	if (f == NULL)
		die("%s: cannot be written", path);
	fprintf(f, "{\n  \"machine\": \"%s\",\n  \"versions\": {\"dpdk\": \"%s\", "
		   "\"ipsec-mb\": \"%s\", \"cc\": \"%s\"},\n",
		machine, rte_version(), imb_get_version_str(), __VERSION__);
	fprintf(f, "  \"command\": \"compare --runs %u --packets %lu\",\n", run_count,
		packet_count);
	fprintf(f, "  \"packet\": {\"payload_bytes\": %d, \"aad_bytes\": %d, "
		   "\"burst\": %u, \"prefetch_ahead\": %d},\n  \"session_bytes\": {",
		PAYLOAD, RTP_HEADER, default_burst, AHEAD);
	for (unsigned i = 0; i < variant_count; i++)
		if (variants[i].session_bytes) {
			fprintf(f, "%s\"%s\": %zu", comma ? ", " : "", variants[i].name,
				variants[i].session_bytes);
			comma = true;
		}
	fputs("},\n  \"gcm_key_bytes_that_matter\": [", f);
	print_footprint(f, true);
	fputs("],\n  \"figures\": {", f);
	comma = false;
	for (unsigned i = 0; i < variant_count; i++)
		for (unsigned c = 0; c < count_count; c++) {
			const struct run *r = runs[i][c];
			const char *name = variants[i].name;
			if (r[0].both == 0)
				continue;
			write_figure(f, name, counts[c], "ns_per_packet", r, run_count,
				     offsetof(struct run, both), &comma);
			write_figure(f, name, counts[c], "seal_ns", r, run_count,
				     offsetof(struct run, seal), &comma);
			write_figure(f, name, counts[c], "open_ns", r, run_count,
				     offsetof(struct run, open), &comma);
		}
	fputs("\n  }\n}\n", f);
	if (path != NULL && fclose(f) != 0)
		die("%s: cannot be written", path);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "out", 1, NULL, 'o' }, { "runs", 1, NULL, 'r' },
		{ "packets", 1, NULL, 'p' }, { "sessions", 1, NULL, 's' },
		{ "filter", 1, NULL, 'f' }, { "core", 1, NULL, 'c' },
		{ "machine", 1, NULL, 'm' }, { "check", 0, NULL, 'k' },
		{ "footprint", 0, NULL, 'F' }, { 0 } };
	uint32_t counts[MAX_COUNTS] = { 1, 1000, 20000, 100000 }, most = 0;
	unsigned count_count = 4, run_count = 7;
	uint64_t packet_count = 50000;
	const char *out = NULL, *filter = NULL, *machine = "unnamed", *core = "1";
	bool check_only = false;
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
		switch (o) {
		case 'o': out = optarg; break;
		case 'r': run_count = (unsigned)atoi(optarg); break;
		case 'p': packet_count = (uint64_t)atoll(optarg); break;
		case 'f': filter = optarg; break;
		case 'c': core = optarg; break;
		case 'm': machine = optarg; break;
		case 'k': check_only = true; break;
		case 'F': print_footprint(stdout, false); return 0;
		case 's':
			count_count = 0;
			for (char *p = strtok(optarg, ","); p && count_count < MAX_COUNTS;
			     p = strtok(NULL, ","))
				counts[count_count++] = (uint32_t)atol(p);
			break;
		default: return 2;
		}
	for (unsigned c = 0; c < count_count; c++) {
		if (counts[c] == 0)
			die("--sessions: 0 is none; give 1 or more");
		most = counts[c] > most ? counts[c] : most;
	}
	if (run_count < 1 || run_count > MAX_RUNS || packet_count == 0 || most == 0)
		die("--runs is 1 to %d, --packets and --sessions 1 or more", MAX_RUNS);
	if (setpriority(PRIO_PROCESS, 0, check_only ? 19 : 0) != 0)
		die("setpriority: not allowed");

	char prefix[64];
	snprintf(prefix, sizeof(prefix), "--file-prefix=crypto-comparison-%d", getpid());
	char *eal[] = { argv[0], "-l", (char *)core, "--in-memory", "--no-pci",
			"--no-telemetry", prefix, "--log-level=error",
			"--vdev=crypto_aesni_gcm0", "--vdev=crypto_aesni_mb0", NULL };
	optind = 1;
	if (rte_eal_init(RTE_DIM(eal) - 1, eal) < 0)
		die("EAL: are there hugepages (vm.nr_hugepages)?");
	make_keys(most);
	make_packets();
	add_imb_variants();
	add_cryptodev_variants(most);
	for (unsigned i = 0; i < variant_count; i++)
		check(&variants[i], most);
	fprintf(stderr, "%u variants agree on %d packets each\n", variant_count, MAX_BURST);
	if (check_only)
		return 0;

	uint32_t at = 0;
	for (unsigned c = 0; c < count_count; c++) {
		make_sequence(counts[c]);
		/* Only the measurement takes the core from others, and not for long. */
		if (setpriority(PRIO_PROCESS, 0, -20) != 0)
			fputs("compare: not at priority -20: figures include others' "
			      "time\n", stderr);
		for (unsigned r = 0; r < run_count; r++)
			for (unsigned i = 0; i < variant_count; i++) {
				const struct variant *v = &variants[i];
				if (filter && strstr(v->name, filter) == NULL)
					continue;
				/* burst sizes are about lanes, not about memory */
				if (v->burst && counts[c] != 1000)
					continue;
				uint64_t warm = counts[c] < 1000 ? 1000 : counts[c];
				measure(v, warm < packet_count / 2 ? warm : packet_count / 2,
					&at);
				runs[i][c][r] = measure(v, packet_count, &at);
			}
		fprintf(stderr, "%u sessions measured\n", counts[c]);
		setpriority(PRIO_PROCESS, 0, 0);
		sleep(2);
	}
	write_json(out, machine, counts, count_count, run_count, packet_count);
	return 0;
}
