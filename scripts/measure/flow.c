// The traffic: UDP frames of 60 bytes to port 9000 of ADDRESS.
//   flow known ADDRESS SECONDS   packets of one flow
//   flow new ADDRESS COUNT       a packet from each of COUNT ports, each a flow that is new
// Prints the nanoseconds that each of them took, and how many there were. A veth pair is synchronous: who
// sends does the work of the whole way in time of its own. Hence the CPU time of this process, which leaves
// out what others on the machine used. Pin it to one CPU.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { PORT = 9000, FIRST_PORT = 1024, PAYLOAD = 18, A_CALL = 64 };

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void report(double began, long count) {
    printf("%.1f %ld\n", (seconds(CLOCK_PROCESS_CPUTIME_ID) - began) / count * 1e9, count);
}

static void known(struct sockaddr_in to, double duration) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || connect(fd, (void *)&to, sizeof to)) die("connect");
    char payload[PAYLOAD] = {0};
    struct iovec part = {payload, sizeof payload};
    struct mmsghdr messages[A_CALL] = {0};
    for (int i = 0; i < A_CALL; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    long count = 0;
    double end = seconds(CLOCK_MONOTONIC) + duration, began = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (seconds(CLOCK_MONOTONIC) < end) {
        int sent = sendmmsg(fd, messages, A_CALL, 0);
        if (sent < 0) die("sendmmsg");
        count += sent;
    }
    report(began, count);
}

// A raw socket: a socket for each port would cost more than the flow.
static void new(struct sockaddr_in to, int count) {
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
    if (fd < 0) die("raw socket");
    // The header's source port, destination port, length and checksum (0: none), and the payload.
    unsigned short packet[4 + PAYLOAD / 2] = {0, htons(PORT), htons(8 + PAYLOAD), 0};
    to.sin_port = 0;
    double began = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < count; i++) {
        packet[0] = htons(FIRST_PORT + i);
        if (sendto(fd, packet, sizeof packet, 0, (void *)&to, sizeof to) < 0) die("sendto");
    }
    report(began, count);
}

int main(int count, char **words) {
    if (count != 4) return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    if (inet_pton(AF_INET, words[2], &to.sin_addr) != 1) return 2;
    if (!strcmp(words[1], "known")) known(to, atof(words[3]));
    else if (!strcmp(words[1], "new")) new(to, atoi(words[3]));
    else return 2;
    return 0;
}
