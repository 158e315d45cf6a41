/* A wall clock that can be set: preloaded, it adds the seconds that stand in a shared file.

   Only the time of day moves; the monotonic clock and waits with a length are the kernel's, as
   they are when somebody sets a machine's clock. The file holds one int64, mapped once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead_s;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) ahead_s = found;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int said = real(which, now);
    if (!said && ahead_s && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead_s;
    return said;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec then;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &then)) return -1;
    now->tv_sec = then.tv_sec;
    now->tv_usec = then.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec then;
    clock_gettime(CLOCK_REALTIME, &then);
    if (out) *out = then.tv_sec;
    return then.tv_sec;
}
