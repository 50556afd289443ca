// The baseline for the cost of netlink: a process that only exchanges messages with the kernel.
//   netlink_baseline neigh     dumps the IPv4 neighbour table
//   netlink_baseline empty     creates an empty nftables map from address to mark, or empties it
//   netlink_baseline fill N    adds N clients to the map in one batch, starting with 10.50.0.2
// Prints the number of entries that were read or added.
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TABLE "bench"
#define MAP "clients"
#define FIRST_CLIENT 0x0a320002u // 10.50.0.2
enum { MAP_SIZE = 131072, MAX_ELEMENTS_PER_MESSAGE = 1000, BUFFER_SIZE = 16 << 20 };

static char *buffer; // messages to send
static size_t length;
static int fd;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void open_socket(int protocol) {
    int size = BUFFER_SIZE;
    buffer = calloc(1, BUFFER_SIZE);
    fd = socket(AF_NETLINK, SOCK_RAW, protocol);
    if (!buffer || fd < 0) die("netlink");
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
}

// Begins a message with a protocol header of this size. Returns its offset in the buffer, for close_message().
static size_t open_message(int type, int flags, size_t header) {
    size_t at = length;
    struct nlmsghdr *message = (void *)(buffer + at);
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST | flags;
    length += NLMSG_SPACE(header);
    return at;
}

static void close_message(size_t at) { ((struct nlmsghdr *)(buffer + at))->nlmsg_len = length - at; }

static size_t open_nf_message(int type, int flags, int family, int resource) {
    size_t at = open_message(type, flags, sizeof(struct nfgenmsg));
    struct nfgenmsg *header = NLMSG_DATA((struct nlmsghdr *)(buffer + at));
    header->nfgen_family = family;
    header->res_id = htons(resource);
    return at;
}

static size_t open_nft_message(int type, int flags) {
    return open_nf_message(NFNL_SUBSYS_NFTABLES << 8 | type, flags, NFPROTO_IPV4, 0);
}

static void nf_message(int type, int resource) { close_message(open_nf_message(type, 0, NFPROTO_UNSPEC, resource)); }

static size_t open_nest(int type) {
    size_t at = length;
    ((struct nlattr *)(buffer + at))->nla_type = type | NLA_F_NESTED;
    length += NLA_HDRLEN;
    return at;
}

static void close_nest(size_t at) { ((struct nlattr *)(buffer + at))->nla_len = length - at; }

static void put(int type, const void *value, size_t size) {
    struct nlattr *attribute = (void *)(buffer + length);
    attribute->nla_type = type;
    attribute->nla_len = NLA_HDRLEN + size;
    memcpy(buffer + length + NLA_HDRLEN, value, size);
    length += NLA_ALIGN(attribute->nla_len);
}

static void put_text(int type, const char *text) { put(type, text, strlen(text) + 1); }

static void put_number(int type, unsigned value) {
    value = htonl(value);
    put(type, &value, sizeof value);
}

static void table_message(int type, int flags) {
    size_t at = open_nft_message(type, flags);
    put_text(NFTA_TABLE_NAME, TABLE);
    close_message(at);
}

static void map_message(void) {
    size_t at = open_nft_message(NFT_MSG_NEWSET, NLM_F_CREATE);
    put_text(NFTA_SET_TABLE, TABLE);
    put_text(NFTA_SET_NAME, MAP);
    put_number(NFTA_SET_FLAGS, NFT_SET_MAP);
    put_number(NFTA_SET_KEY_TYPE, 7); // the numbers of the nft types ipv4_addr and mark
    put_number(NFTA_SET_KEY_LEN, 4);
    put_number(NFTA_SET_DATA_TYPE, 19);
    put_number(NFTA_SET_DATA_LEN, 4);
    put_number(NFTA_SET_ID, 1);
    size_t description = open_nest(NFTA_SET_DESC);
    // With a known size, the kernel uses a hash table of fixed size, which is the fastest to fill.
    put_number(NFTA_SET_DESC_SIZE, MAP_SIZE);
    close_nest(description);
    close_message(at);
}

static void put_element(unsigned address, unsigned mark) {
    size_t element = open_nest(NFTA_LIST_ELEM);
    size_t key = open_nest(NFTA_SET_ELEM_KEY);
    put_number(NFTA_DATA_VALUE, address);
    close_nest(key);
    size_t data = open_nest(NFTA_SET_ELEM_DATA);
    put(NFTA_DATA_VALUE, &mark, sizeof mark);
    close_nest(data);
    close_nest(element);
}

// The length of an attribute has 16 bits, so a message has at most 1,000 elements.
static void element_messages(unsigned count) {
    for (unsigned done = 0; done < count;) {
        size_t at = open_nft_message(NFT_MSG_NEWSETELEM, NLM_F_CREATE);
        put_text(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        put_text(NFTA_SET_ELEM_LIST_SET, MAP);
        size_t list = open_nest(NFTA_SET_ELEM_LIST_ELEMENTS);
        for (unsigned end = done + MAX_ELEMENTS_PER_MESSAGE; done < end && done < count; done++)
            put_element(FIRST_CLIENT + done, 1 + done % 4);
        close_nest(list);
        close_message(at);
    }
}

// Sends the messages in the buffer as one batch. The kernel acknowledges the last message.
static void commit(void) {
    size_t last = 0;
    for (size_t at = 0; at < length; at += ((struct nlmsghdr *)(buffer + at))->nlmsg_len) last = at;
    ((struct nlmsghdr *)(buffer + last))->nlmsg_flags |= NLM_F_ACK;
    nf_message(NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES);
    if (send(fd, buffer, length, 0) != (ssize_t)length) die("send");
    char answer[8192];
    if (recv(fd, answer, sizeof answer, 0) < 0) die("recv");
    struct nlmsgerr *result = NLMSG_DATA((struct nlmsghdr *)answer);
    if (result->error) {
        fprintf(stderr, "the kernel rejected the batch: %s\n", strerror(-result->error));
        exit(1);
    }
}

static void empty(void) {
    open_socket(NETLINK_NETFILTER);
    nf_message(NFNL_MSG_BATCH_BEGIN, NFNL_SUBSYS_NFTABLES);
    table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE); // the next message fails if the table does not exist
    table_message(NFT_MSG_DELTABLE, 0);
    table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE);
    map_message();
    commit();
}

static unsigned fill(unsigned count) {
    open_socket(NETLINK_NETFILTER);
    nf_message(NFNL_MSG_BATCH_BEGIN, NFNL_SUBSYS_NFTABLES);
    element_messages(count);
    commit();
    return count;
}

static unsigned neigh(void) {
    static char answer[1 << 20];
    unsigned count = 0;
    open_socket(NETLINK_ROUTE);
    size_t at = open_message(RTM_GETNEIGH, NLM_F_DUMP, sizeof(struct ndmsg));
    ((struct ndmsg *)NLMSG_DATA((struct nlmsghdr *)(buffer + at)))->ndm_family = AF_INET;
    close_message(at);
    if (send(fd, buffer, length, 0) < 0) die("send");
    for (;;) {
        ssize_t size = recv(fd, answer, sizeof answer, 0);
        if (size < 0) die("recv");
        for (struct nlmsghdr *message = (void *)answer; NLMSG_OK(message, size); message = NLMSG_NEXT(message, size)) {
            if (message->nlmsg_type == NLMSG_DONE) return count;
            if (message->nlmsg_type == NLMSG_ERROR) die("the kernel rejected the dump");
            count++;
        }
    }
}

int main(int count, char **args) {
    unsigned entries = 0;
    if (count == 2 && !strcmp(args[1], "neigh")) entries = neigh();
    else if (count == 2 && !strcmp(args[1], "empty")) empty();
    else if (count == 3 && !strcmp(args[1], "fill")) entries = fill(atoi(args[2]));
    else return 2;
    printf("%u\n", entries);
    return 0;
}
