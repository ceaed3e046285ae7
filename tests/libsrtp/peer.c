/*
 * The far ends of calls over libsrtp 2: what somebody else's SRTP makes of the gateway's packets, and the reverse.
 *
 * Standard input has one call a line, then `bind`; the peer answers `ready`. After `start` every call sends its RTP
 * and RTCP and hears the other end's; `done` says that all was sent and heard, or that the time is up. After `stop`
 * the peer takes in what is still in its sockets and prints one line of JSON a call. A line of a call is
 *
 *     ID SUITE SEND-KEYS RECEIVE-KEYS LOCAL REMOTE SSRC HEARD-SSRC
 *
 * with keys as in SDES (RFC 4568 section 6.1): `inline:BASE64`, with an MKI `inline:BASE64|VALUE:LENGTH`, several
 * separated by `;`. Addresses are `1.2.3.4:5` or `[::1]:5`. Options:
 *
 *     --count N            RTP packets that every call sends, and expects (default 100)
 *     --ptime-us N         microseconds between two of them (default 5000)
 *     --first-seq N        sequence number of the first one (default 65500)
 *     --window N           packets that a call may be ahead of what it heard; 0 is no limit (default 0)
 *     --rtcp-every N       a sender report with a source description after every N RTP packets (default 10)
 *     --duplicate-every N  every N-th packet is sent twice (default 0: none)
 *     --corrupt-every N    before every N-th packet, a copy of it with one bit flipped (default 0: none)
 *     --rekey-after N      after N RTP packets, RTP and RTCP use the second of the keys (default 0: never)
 *     --limit-ms N         `done` after this time at the latest (default 10000)
 *
 * What a packet holds follows from SSRC and packet index, so the other end knows every octet of it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <srtp2/srtp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CALLS = 256,
    MAX_KEYS = 2,
    MAX_MKI = 128,
    MAX_COUNT = 1 << 20,
    RTP_HEADER = 12,
    MAX_PAYLOAD = 400,
    REPORT = 28,
    DESCRIPTION = 12,
    PAYLOAD_TYPE = 96,
    SAMPLES = 160,
    PACKET_ROOM = RTP_HEADER + MAX_PAYLOAD + SRTP_MAX_TRAILER_LEN + 4,
};

struct keys {
    srtp_master_key_t keys[MAX_KEYS];
    srtp_master_key_t *pointers[MAX_KEYS];
    unsigned char octets[MAX_KEYS][SRTP_MAX_KEY_LEN];
    unsigned char mkis[MAX_KEYS][MAX_MKI];
    unsigned count;
    unsigned has_mki;
};

struct call {
    char id[64];
    struct keys send_keys, receive_keys;
    srtp_t send, receive;
    int socket;
    struct sockaddr_storage local, remote;
    socklen_t address_len;
    uint32_t ssrc, heard_ssrc;
    unsigned sent, rtcp_sent, extra_sent;
    unsigned heard, rtcp_heard;
    unsigned auth_failed, replayed, mki_unknown, refused, mismatched, duplicated, reordered, stray;
    uint64_t highest;
    unsigned char *seen;
};

static struct {
    unsigned count, ptime_us, first_seq, window, rtcp_every, duplicate_every, corrupt_every, rekey_after, limit_ms;
} options = { 100, 5000, 65500, 0, 10, 0, 0, 0, 10000 };

static struct call calls[MAX_CALLS];
static unsigned call_count;

#define die(...) (fprintf(stderr, "libsrtp peer: " __VA_ARGS__), fputc('\n', stderr), exit(2))

static void check(srtp_err_status_t status, const char *what) {
    if (status != srtp_err_status_ok)
        die("%s: libsrtp error %d", what, status);
}

static uint64_t now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static void put16(unsigned char *at, uint32_t value) {
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

static void put32(unsigned char *at, uint32_t value) {
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static uint32_t get32(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* --- what packets hold --------------------------------------------------------------------------------------- */

/* splitmix64: octets that repeat nowhere and that both ends can make. */
static uint64_t mixed(uint64_t seed) {
    seed += 0x9e3779b97f4a7c15u;
    seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9u;
    seed = (seed ^ seed >> 27) * 0x94d049bb133111ebu;
    return seed ^ seed >> 31;
}

/* The RTP packet with this index; returns its length. */
static int make_rtp(unsigned char *packet, uint32_t ssrc, uint64_t index) {
    uint64_t state = mixed((uint64_t)ssrc << 32 ^ index);
    int payload = 1 + (int)(state % MAX_PAYLOAD);
    packet[0] = 0x80;
    packet[1] = PAYLOAD_TYPE;
    put16(packet + 2, index & 0xffff);
    put32(packet + 4, (uint32_t)index * SAMPLES);
    put32(packet + 8, ssrc);
    for (int at = 0; at < payload; at++) {
        state = mixed(state);
        packet[RTP_HEADER + at] = (unsigned char)state;
    }
    return RTP_HEADER + payload;
}

/* The compound packet with this number: a sender report (RFC 3550 section 6.4.1), a CNAME (section 6.5). */
static int make_rtcp(unsigned char *packet, uint32_t ssrc, uint32_t number) {
    uint64_t state = mixed((uint64_t)ssrc << 32 ^ ~(uint64_t)number);
    packet[0] = 0x80;
    packet[1] = 200;
    put16(packet + 2, REPORT / 4 - 1);
    put32(packet + 4, ssrc);
    for (int at = 8; at < REPORT; at += 4) {
        state = mixed(state);
        put32(packet + at, (uint32_t)state);
    }
    put32(packet + 20, number);
    unsigned char *description = packet + REPORT;
    memset(description, 0, DESCRIPTION);
    description[0] = 0x81;
    description[1] = 202;
    put16(description + 2, DESCRIPTION / 4 - 1);
    put32(description + 4, ssrc);
    description[8] = 1;
    description[9] = 1;
    description[10] = 'x';
    return REPORT + DESCRIPTION;
}

/* --- calls as they are configured ---------------------------------------------------------------------------- */

static unsigned decode_base64(const char *text, size_t len, unsigned char *out, unsigned room) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t word = 0;
    unsigned bits = 0, count = 0;
    for (size_t at = 0; at < len && text[at] != '='; at++) {
        const char *digit = strchr(alphabet, text[at]);
        if (!digit || count == room)
            die("a key is no base64, or too long");
        word = word << 6 | (uint32_t)(digit - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[count++] = (unsigned char)(word >> bits);
        }
    }
    return count;
}

/* `|VALUE:LENGTH`: the value as a big-endian number of that many octets (RFC 4568 section 6.1). */
static unsigned decode_mki(const char *text, unsigned char *out) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    unsigned long length = *end == ':' ? strtoul(end + 1, &end, 10) : 0;
    if (*end != '\0' || length < 1 || length > MAX_MKI)
        die("an MKI is not VALUE:LENGTH: %s", text);
    for (unsigned at = 0; at < length; at++)
        out[length - 1 - at] = at < sizeof value ? (unsigned char)(value >> 8 * at) : 0;
    return (unsigned)length;
}

static void parse_keys(struct keys *keys, char *text, unsigned key_len) {
    char *rest = NULL;
    for (char *one = strtok_r(text, ";", &rest); one; one = strtok_r(NULL, ";", &rest)) {
        if (keys->count == MAX_KEYS || strncmp(one, "inline:", 7) != 0)
            die("keys are one or two of inline:BASE64 or inline:BASE64|VALUE:LENGTH");
        char *base64 = one + 7, *bar = strchr(base64, '|');
        size_t len = bar ? (size_t)(bar - base64) : strlen(base64);
        unsigned at = keys->count++;
        unsigned octets = decode_base64(base64, len, keys->octets[at], SRTP_MAX_KEY_LEN);
        if (octets != key_len)
            die("a key has %u octets instead of %u", octets, key_len);
        srtp_master_key_t *key = &keys->keys[at];
        key->key = keys->octets[at];
        key->mki_id = keys->mkis[at];
        key->mki_size = bar ? decode_mki(bar + 1, keys->mkis[at]) : 0;
        keys->has_mki |= key->mki_size > 0;
        keys->pointers[at] = key;
    }
    if (keys->count == 0 || (keys->count > 1 && !keys->has_mki))
        die("several keys need MKIs");
}

/* The policies of a suite by its SDES name; returns octets of key and salt. */
static unsigned set_suite(srtp_policy_t *policy, const char *suite) {
    if (strcmp(suite, "AEAD_AES_128_GCM") == 0) {
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy->rtp);
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy->rtcp);
    } else if (strcmp(suite, "AEAD_AES_256_GCM") == 0) {
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy->rtp);
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy->rtcp);
    } else if (strcmp(suite, "AES_CM_128_HMAC_SHA1_80") == 0) {
        srtp_crypto_policy_set_rtp_default(&policy->rtp);
        srtp_crypto_policy_set_rtcp_default(&policy->rtcp);
    } else if (strcmp(suite, "AES_CM_128_HMAC_SHA1_32") == 0) {
        /* The short tag is for SRTP alone (RFC 4568 section 6.2.2). */
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy->rtp);
        srtp_crypto_policy_set_rtcp_default(&policy->rtcp);
    } else if (strcmp(suite, "AES_256_CM_HMAC_SHA1_80") == 0) {
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy->rtp);
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy->rtcp);
    } else {
        die("unknown suite %s", suite);
    }
    return (unsigned)policy->rtp.cipher_key_len;
}

static srtp_t create(srtp_policy_t policy, struct keys *keys, srtp_ssrc_type_t type) {
    srtp_t session;
    policy.ssrc.type = type;
    policy.window_size = 1024;
    policy.keys = keys->pointers;
    policy.num_master_keys = keys->count;
    check(srtp_create(&session, &policy), "srtp_create");
    return session;
}

static socklen_t parse_address(char *text, struct sockaddr_storage *out) {
    char *colon = strrchr(text, ':');
    if (!colon)
        die("an address has no port: %s", text);
    *colon = '\0';
    size_t len = strlen(text);
    if (*text == '[' && text[len - 1] == ']') {
        text[len - 1] = '\0';
        text++;
    }
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM }, *found;
    int error = getaddrinfo(text, colon + 1, &hints, &found);
    if (error)
        die("%s is no address: %s", text, gai_strerror(error));
    socklen_t length = found->ai_addrlen;
    memcpy(out, found->ai_addr, length);
    freeaddrinfo(found);
    return length;
}

static void parse_call(char *line) {
    static char suite[64], send[1024], receive[1024], local[128], remote[128];
    if (call_count == MAX_CALLS)
        die("more than %d calls", MAX_CALLS);
    struct call *call = &calls[call_count++];
    int fields = sscanf(line, "%63s %63s %1023s %1023s %127s %127s %u %u", call->id, suite, send, receive, local,
                        remote, &call->ssrc, &call->heard_ssrc);
    if (fields != 8)
        die("a call has 8 fields, this has %d: %s", fields, line);
    srtp_policy_t policy;
    memset(&policy, 0, sizeof policy);
    unsigned key_len = set_suite(&policy, suite);
    parse_keys(&call->send_keys, send, key_len);
    parse_keys(&call->receive_keys, receive, key_len);
    call->send = create(policy, &call->send_keys, ssrc_any_outbound);
    call->receive = create(policy, &call->receive_keys, ssrc_any_inbound);
    parse_address(local, &call->local);
    call->address_len = parse_address(remote, &call->remote);
    call->seen = calloc(options.count, 1);
    if (!call->seen)
        die("no memory");
}

static void bind_call(struct call *call) {
    call->socket = socket(call->local.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (call->socket < 0 || bind(call->socket, (struct sockaddr *)&call->local, call->address_len) < 0)
        die("call %s: cannot bind: %s", call->id, strerror(errno));
    if (connect(call->socket, (struct sockaddr *)&call->remote, call->address_len) < 0)
        die("call %s: cannot connect: %s", call->id, strerror(errno));
    int room = 4 << 20;
    setsockopt(call->socket, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
}

/* --- sending ------------------------------------------------------------------------------------------------- */

static void put_on_wire(struct call *call, const unsigned char *packet, int len) {
    while (send(call->socket, packet, (size_t)len, 0) < 0) {
        struct pollfd writable = { call->socket, POLLOUT, 0 };
        /* ECONNREFUSED is about an earlier packet; the other end may not be there yet. */
        if (errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED)
            die("call %s: cannot send: %s", call->id, strerror(errno));
        poll(&writable, 1, 1);
    }
}

static unsigned key_in_use(const struct call *call) {
    return options.rekey_after && call->sent >= options.rekey_after && call->send_keys.count > 1;
}

static int every(unsigned period, unsigned number) {
    return period && number % period == period - 1;
}

static void send_rtp(struct call *call) {
    unsigned char packet[PACKET_ROOM];
    int plain = make_rtp(packet, call->ssrc, options.first_seq + (uint64_t)call->sent), len = plain;
    unsigned mki = call->send_keys.has_mki;
    check(srtp_protect_mki(call->send, packet, &len, mki, key_in_use(call)), "srtp_protect");
    if (every(options.corrupt_every, call->sent)) {
        int at = RTP_HEADER + (int)(call->sent % (unsigned)(plain - RTP_HEADER));
        packet[at] ^= 1;
        put_on_wire(call, packet, len);
        packet[at] ^= 1;
        call->extra_sent++;
    }
    put_on_wire(call, packet, len);
    if (every(options.duplicate_every, call->sent)) {
        put_on_wire(call, packet, len);
        call->extra_sent++;
    }
    call->sent++;
}

static void send_rtcp(struct call *call) {
    unsigned char packet[PACKET_ROOM];
    int len = make_rtcp(packet, call->ssrc, call->rtcp_sent);
    unsigned mki = call->send_keys.has_mki;
    check(srtp_protect_rtcp_mki(call->send, packet, &len, mki, key_in_use(call)), "srtp_protect_rtcp");
    put_on_wire(call, packet, len);
    call->rtcp_sent++;
}

/* --- receiving ----------------------------------------------------------------------------------------------- */

static void count_refusal(struct call *call, srtp_err_status_t status) {
    switch (status) {
    case srtp_err_status_auth_fail: call->auth_failed++; break;
    case srtp_err_status_replay_fail:
    case srtp_err_status_replay_old: call->replayed++; break;
    case srtp_err_status_bad_mki: call->mki_unknown++; break;
    default: call->refused++;
    }
}

static void hear_rtp(struct call *call, unsigned char *packet, int len) {
    unsigned char expected[PACKET_ROOM];
    srtp_err_status_t status = srtp_unprotect_mki(call->receive, packet, &len, call->receive_keys.has_mki);
    if (status != srtp_err_status_ok) {
        count_refusal(call, status);
        return;
    }
    /* The timestamp has the low 32 bits of the index, which is more than any test sends. */
    uint64_t index = get32(packet + 4) / SAMPLES, number = index - options.first_seq;
    int expected_len = make_rtp(expected, call->heard_ssrc, index);
    if (number >= options.count || len != expected_len || memcmp(packet, expected, (size_t)len) != 0) {
        call->mismatched++;
        return;
    }
    if (call->seen[number]) {
        call->duplicated++;
        return;
    }
    call->seen[number] = 1;
    call->heard++;
    if (index < call->highest)
        call->reordered++;
    else
        call->highest = index;
}

static void hear_rtcp(struct call *call, unsigned char *packet, int len) {
    unsigned char expected[PACKET_ROOM];
    srtp_err_status_t status = srtp_unprotect_rtcp_mki(call->receive, packet, &len, call->receive_keys.has_mki);
    if (status != srtp_err_status_ok) {
        count_refusal(call, status);
        return;
    }
    /* In order and without loss, so the next number is the only right one. */
    int expected_len = make_rtcp(expected, call->heard_ssrc, call->rtcp_heard);
    if (len != expected_len || memcmp(packet, expected, (size_t)len) != 0)
        call->mismatched++;
    else
        call->rtcp_heard++;
}

static void hear(struct call *call) {
    /* libsrtp reads words of the packet. */
    _Alignas(8) unsigned char packet[2048];
    ssize_t len;
    while ((len = recv(call->socket, packet, sizeof packet, 0)) > 0 || (len < 0 && errno == ECONNREFUSED)) {
        if (len < 0)
            continue;
        if (len < 8)
            call->stray++;
        else if (packet[1] >= 192 && packet[1] <= 223)
            hear_rtcp(call, packet, (int)len);
        else
            hear_rtp(call, packet, (int)len);
    }
}

/* --- the run ------------------------------------------------------------------------------------------------- */

static unsigned reports_due(unsigned sent) {
    return options.rtcp_every ? sent / options.rtcp_every : 0;
}

static int is_complete(const struct call *call) {
    unsigned reports = reports_due(options.count);
    return call->sent == options.count && call->heard == options.count && call->rtcp_sent == reports &&
           call->rtcp_heard == reports;
}

static void run(void) {
    static struct pollfd sockets[MAX_CALLS];
    for (unsigned at = 0; at < call_count; at++)
        sockets[at] = (struct pollfd){ calls[at].socket, POLLIN, 0 };
    uint64_t start = now_us(), end = start + (uint64_t)options.limit_ms * 1000;
    for (unsigned complete = 0; complete < call_count && now_us() < end;) {
        uint64_t due = (now_us() - start) / (options.ptime_us ? options.ptime_us : 1) + 1;
        for (unsigned at = 0; at < call_count; at++) {
            struct call *call = &calls[at];
            int ahead = options.window && call->sent >= call->heard + options.window;
            if (call->sent < options.count && call->sent < due && !ahead) {
                send_rtp(call);
                while (call->rtcp_sent < reports_due(call->sent))
                    send_rtcp(call);
            }
        }
        poll(sockets, call_count, 1);
        complete = 0;
        for (unsigned at = 0; at < call_count; at++) {
            hear(&calls[at]);
            complete += is_complete(&calls[at]);
        }
    }
}

static void report(struct call *call) {
    uint32_t roc = 0;
    if (call->heard)
        check(srtp_get_stream_roc(call->receive, call->heard_ssrc, &roc), "srtp_get_stream_roc");
    printf("{\"id\":\"%s\",\"sent\":%u,\"extra_sent\":%u,\"rtcp_sent\":%u,\"heard\":%u,\"rtcp_heard\":%u,"
           "\"auth_failed\":%u,\"replayed\":%u,\"mki_unknown\":%u,\"refused\":%u,\"mismatched\":%u,"
           "\"duplicated\":%u,\"reordered\":%u,\"stray\":%u,\"roc\":%u}\n",
           call->id, call->sent, call->extra_sent, call->rtcp_sent, call->heard, call->rtcp_heard,
           call->auth_failed, call->replayed, call->mki_unknown, call->refused, call->mismatched, call->duplicated,
           call->reordered, call->stray, roc);
}

static void parse_options(int count, char **words) {
    static const struct {
        const char *name;
        unsigned *value;
    } table[] = {
        { "--count", &options.count },
        { "--ptime-us", &options.ptime_us },
        { "--first-seq", &options.first_seq },
        { "--window", &options.window },
        { "--rtcp-every", &options.rtcp_every },
        { "--duplicate-every", &options.duplicate_every },
        { "--corrupt-every", &options.corrupt_every },
        { "--rekey-after", &options.rekey_after },
        { "--limit-ms", &options.limit_ms },
    };
    for (int at = 1; at < count; at += 2) {
        size_t row = 0;
        while (row < sizeof table / sizeof *table && strcmp(words[at], table[row].name) != 0)
            row++;
        char *end = NULL;
        if (row == sizeof table / sizeof *table || at + 1 == count)
            die("unknown option, or no value: %s", words[at]);
        *table[row].value = (unsigned)strtoul(words[at + 1], &end, 10);
        if (*end != '\0')
            die("%s needs a number", words[at]);
    }
    if (options.count < 1 || options.count > MAX_COUNT || options.first_seq > 65535)
        die("--count is 1 to %d, --first-seq at most 65535", MAX_COUNT);
}

static void say(const char *line) {
    puts(line);
    fflush(stdout);
}

int main(int count, char **words) {
    static char line[4096];
    parse_options(count, words);
    check(srtp_init(), "srtp_init");
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "bind") == 0) {
            for (unsigned at = 0; at < call_count; at++)
                bind_call(&calls[at]);
            say("ready");
        } else if (strcmp(line, "start") == 0) {
            run();
            say("done");
        } else if (strcmp(line, "stop") == 0) {
            for (unsigned at = 0; at < call_count; at++) {
                hear(&calls[at]);
                report(&calls[at]);
            }
            say("end");
            return 0;
        } else {
            parse_call(line);
        }
    }
    die("standard input ended before `stop`");
}
