// Sends UDP frames of 60 bytes to port 9000 of ADDRESS.
//   udp_sender known ADDRESS SECONDS   sends packets of one flow
//   udp_sender new ADDRESS COUNT       sends one packet from each of COUNT ports; each packet is a new flow
// Prints the nanoseconds per packet and the number of packets. veth devices are synchronous: the sender does the work
// of the whole path. The CPU time of this process is therefore the cost of the path, without the load of other
// processes.
// Pin this program to one CPU.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PORT = 9000, FIRST_PORT = 1024, PAYLOAD = 18, PER_CALL = 64 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void report(double start, long count) {
    printf("%.1f %ld\n", (seconds(CLOCK_PROCESS_CPUTIME_ID) - start) / count * 1e9, count);
}

static void known(struct sockaddr_in to, double duration) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (void *)&to, sizeof to)) die("connect");
    char payload[PAYLOAD] = {0};
    struct iovec part = {payload, sizeof payload};
    struct mmsghdr messages[PER_CALL] = {0};
    for (int i = 0; i < PER_CALL; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    long count = 0;
    double end = seconds(CLOCK_MONOTONIC) + duration, start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (seconds(CLOCK_MONOTONIC) < end) {
        int sent = sendmmsg(fd, messages, PER_CALL, 0);
        if (sent < 0) die("sendmmsg");
        count += sent;
    }
    report(start, count);
}

// This function uses a raw socket, because a UDP socket for each port costs more than the flow.
static void new(struct sockaddr_in to, int count) {
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
    if (fd < 0) die("raw socket");
    // The UDP header (source port, destination port, length, checksum 0 for none) and the payload.
    unsigned short packet[4 + PAYLOAD / 2] = {0, htons(PORT), htons(8 + PAYLOAD), 0};
    to.sin_port = 0;
    double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < count; i++) {
        packet[0] = htons(FIRST_PORT + i);
        if (sendto(fd, packet, sizeof packet, 0, (void *)&to, sizeof to) < 0) die("sendto");
    }
    report(start, count);
}

int main(int count, char **args) {
    if (count != 4) return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (inet_pton(AF_INET, args[2], &to.sin_addr) != 1) return 2;
    if (!strcmp(args[1], "known")) known(to, atof(args[3]));
    else if (!strcmp(args[1], "new")) new(to, atoi(args[3]));
    else return 2;
    return 0;
}
