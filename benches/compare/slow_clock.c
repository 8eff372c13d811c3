/* A clock that is slow for a server under callgrind, which is slow itself; loaded into it by LD_PRELOAD.
 *
 * After so many microseconds the server hands over what is ready, and gives its event loop back. Under callgrind that
 * time has passed after a request or two, sooner the more else the machine does, so that each run would count other
 * batches of requests. Waiting for events takes as much longer; other waits do not.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOWER = 32, NANOSECONDS = 1000000000, SIGNAL_SET_SIZE = 8 };

int clock_gettime(clockid_t clock, struct timespec *now) {
    static long long start;
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (failed || clock != CLOCK_MONOTONIC)
        return failed;
    long long time = (long long)now->tv_sec * NANOSECONDS + now->tv_nsec;
    if (start == 0)
        start = time;
    time = start + (time - start) / SLOWER;
    now->tv_sec = time / NANOSECONDS;
    now->tv_nsec = time % NANOSECONDS;
    return 0;
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    int longer = timeout > 0 ? timeout * SLOWER : timeout;
    return (int)syscall(SYS_epoll_pwait, epoll, events, most, longer, (void *)0, (unsigned long)SIGNAL_SET_SIZE);
}
