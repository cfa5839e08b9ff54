/* The floor: the least that a server on kernel sockets can do for a crowd. It sends the same bytes, at the same pace, to the same
 * number of connections, and nothing else: no simulation, no protocol, no input. What it costs is what the kernel costs.
 *
 *   floor CONNECTIONS HZ SECONDS SIZE...
 *
 * Prints the port it listens on; waits for that many connections; sends each of them one message HZ times a second, the sizes
 * (bytes) taken in turn; then prints the microseconds of CPU it used while sending, and the number of messages sent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define MESSAGE_BYTES_MAX 65536

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_anywhere(int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, backlog)
        || getsockname(listener, (struct sockaddr *)&address, &length))
        give_up("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static long cpu_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

int main(int argc, char **argv)
{
    static char message[MESSAGE_BYTES_MAX];
    if (argc < 5)
        return 2;
    int connections = atoi(argv[1]), hz = atoi(argv[2]), sizes = argc - 4;
    long ticks = atol(argv[3]) * hz, sent = 0, refused = 0;
    int *sockets = calloc(connections, sizeof *sockets), *size = calloc(sizes, sizeof *size);
    for (int i = 0; i < sizes; i++) {
        size[i] = atoi(argv[4 + i]);
        if (size[i] < 1 || size[i] > MESSAGE_BYTES_MAX)
            return 2;
    }
    int listener = listen_anywhere(connections);
    for (int i = 0; i < connections; i++) {
        int one = 1;
        if ((sockets[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0)
            give_up("accept");
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    long before_us = cpu_us();
    for (long tick = 0; tick < ticks; tick++) {
        for (int i = 0; i < connections; i++) {
            if (send(sockets[i], message, size[(i + tick) % sizes], MSG_NOSIGNAL) > 0)
                sent++;
            else if (errno == EAGAIN)
                refused++;
            else
                give_up("send");
        }
        next.tv_nsec += 1000000000L / hz;
        if (next.tv_nsec >= 1000000000L) {
            next.tv_nsec -= 1000000000L;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    printf("%ld %ld %ld\n", cpu_us() - before_us, sent, refused);
    return 0;
}
