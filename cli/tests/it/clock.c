/* A clock that a test sets while the program runs: the seconds in the file BEKK_TEST_CLOCK are added to it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;

__attribute__((constructor)) static void find(void) {
    const char *path = getenv("BEKK_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        _exit(99);
    close(file);
    ahead = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact))
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact))
        return -1;
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}

/* librdkafka waits until a time of day. Where the kernel's clock jumps, such a wait gets longer or shorter; so does this one. */
int cnd_timedwait(cnd_t *restrict changed, mtx_t *restrict lock, const struct timespec *restrict until) {
    for (;;) {
        struct timespec now, slice;
        int64_t left;
        clock_gettime(CLOCK_REALTIME, &now);
        left = (until->tv_sec - now.tv_sec) * INT64_C(1000000000) + until->tv_nsec - now.tv_nsec;
        if (left <= 0)
            return thrd_timedout;
        if (left > 20000000)
            left = 20000000;
        clock_gettime(CLOCK_MONOTONIC, &slice);
        slice.tv_sec += (slice.tv_nsec + left) / 1000000000;
        slice.tv_nsec = (slice.tv_nsec + left) % 1000000000;
        /* In this library, the types of C are those of POSIX. */
        int ended = pthread_cond_clockwait((pthread_cond_t *)changed, (pthread_mutex_t *)lock, CLOCK_MONOTONIC, &slice);
        if (ended != ETIMEDOUT)
            return ended ? thrd_error : thrd_success;
    }
}
