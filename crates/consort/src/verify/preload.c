/* Faults of a node's disk and clocks, for `consort verify`: loaded into a node with LD_PRELOAD, it changes what the node
 * asks of the system, as the control file says that VERIFY_FAULTS names. The file is mapped, so a change holds at once.
 *
 * Only regular files other than standard output and error are touched. A full disk refuses what would make a file longer,
 * and new files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control {
    volatile int64_t wall_ns;  /* added to the wall clock */
    volatile int64_t drift_ppm; /* how much faster both clocks run */
    volatile int64_t sync_error; /* 1: fsync and fdatasync fail with EIO */
    volatile int64_t sync_us;    /* how much longer they take */
    volatile int64_t full;       /* 1: no room on the disk */
};

static struct control none;
static struct control *control = &none;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fallocate = dlsym(RTLD_NEXT, "fallocate64");
    const char *path = getenv("VERIFY_FAULTS");
    if (!path) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(0, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) control = mapped;
}

/* How far the clocks have run ahead (below zero: behind) by running faster: what had come together when the rate last
 * changed, and what has since. */
static int lock;
static int64_t rate, gained, since;

static int64_t drifted(int64_t now) {
    int64_t wanted = control->drift_ppm;
    if (wanted == 0 && rate == 0 && gained == 0) return 0;
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) {}
    if (wanted != rate) {
        gained += (int64_t)((double)(now - since) * (double)rate / 1e6);
        rate = wanted;
        since = now;
    }
    int64_t ahead = gained + (int64_t)((double)(now - since) * (double)rate / 1e6);
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    return ahead;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = real_clock_gettime(clock, time);
    if (result != 0) return result;
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!wall && clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE && clock != CLOCK_BOOTTIME) return 0;
    struct timespec steady;
    real_clock_gettime(CLOCK_MONOTONIC, &steady);
    int64_t now = steady.tv_sec * 1000000000LL + steady.tv_nsec;
    int64_t changed = time->tv_sec * 1000000000LL + time->tv_nsec + drifted(now) + (wall ? control->wall_ns : 0);
    time->tv_sec = changed / 1000000000LL;
    time->tv_nsec = changed % 1000000000LL;
    return 0;
}

static int slow(void) {
    int64_t us = control->sync_us;
    if (us > 0) {
        struct timespec pause = {us / 1000000, us % 1000000 * 1000};
        nanosleep(&pause, 0);
    }
    if (control->sync_error) {
        errno = EIO;
        return -1;
    }
    return 0;
}

int fsync(int file) { return slow() ? -1 : real_fsync(file); }
int fdatasync(int file) { return slow() ? -1 : real_fdatasync(file); }

/* Is there no room for bytes of this file up to `end`? */
static int no_room(int file, off_t end) {
    struct stat found;
    if (!control->full || file <= 2 || fstat(file, &found) != 0 || !S_ISREG(found.st_mode)) return 0;
    if (end <= found.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    if (control->full && file > 2) {
        off_t at = lseek(file, 0, SEEK_CUR);
        if (at >= 0 && no_room(file, at + (off_t)count)) return -1;
    }
    return real_write(file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) {
    return no_room(file, at + (off_t)count) ? -1 : real_pwrite(file, bytes, count, at);
}

int ftruncate64(int file, off_t length) { return no_room(file, length) ? -1 : real_ftruncate(file, length); }

int fallocate64(int file, int mode, off_t offset, off_t length) {
    return no_room(file, offset + length) ? -1 : real_fallocate(file, mode, offset, length);
}

/* Another boot than the system's: of a machine that lost power in a test. */
static int (*real_open)(const char *, int, ...);

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (!real_open) real_open = dlsym(RTLD_NEXT, "open64");
    const char *boot = getenv("VERIFY_BOOT_ID");
    if (boot && !strcmp(path, "/proc/sys/kernel/random/boot_id")) path = boot;
    return real_open(path, flags, mode);
}

int fallocate(int file, int mode, off_t offset, off_t length) { return fallocate64(file, mode, offset, length); }
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }
int ftruncate(int file, off_t length) { return ftruncate64(file, length); }
