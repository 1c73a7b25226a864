/* Faults of the disk and the clock, preloaded into the processes of a gateway. `faults.py` builds and controls it.

   CRASH_CONTROL  a file of 64-bit numbers that every process maps; they can be changed at any time
   CRASH_DATA     the data directory: only files directly in it have faults
   CRASH_SYNCED   a directory with each of these files as it was at its last fsync: what a power cut leaves */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FSYNC_FAILS, DISK_FULL, CLOCK_OFFSET_NS, NUMBERS };

static volatile int64_t *control;
static const char *data, *synced;

static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_pread = dlsym(RTLD_NEXT, "pread");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_write = dlsym(RTLD_NEXT, "write");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    data = getenv("CRASH_DATA");
    synced = getenv("CRASH_SYNCED");
    const char *path = getenv("CRASH_CONTROL");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, NUMBERS * sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED) control = found;
}

/* The name of a file directly in the data directory, "" for the directory itself, NULL for every other file. */
static const char *name_of(int file, char *path) {
    char link[64];
    if (!control || !data) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    size_t prefix = strlen(data);
    if (length < (ssize_t)prefix) return NULL;
    path[length] = 0;
    if (strncmp(path, data, prefix)) return NULL;
    if (!path[prefix]) return path + prefix;
    if (path[prefix] != '/' || strchr(path + prefix + 1, '/')) return NULL;
    return path + prefix + 1;
}

/* Keep a file as it is now: the whole of it, or what was kept before. Databases are read through the descriptor that is
   there, because closing another one would drop SQLite's locks. */
static void keep(int file, const char *path, const char *name) {
    static __thread char buffer[65536];
    char target[PATH_MAX], temporary[PATH_MAX];
    int from = file, to;
    off_t at = 0;
    ssize_t count;
    struct stat found;
    if (fstat(file, &found) || !S_ISREG(found.st_mode)) return;
    snprintf(target, sizeof target, "%s/%s", synced, name);
    snprintf(temporary, sizeof temporary, "%s/.%s.%d.%d", synced, name, getpid(), file);
    if ((fcntl(file, F_GETFL) & O_ACCMODE) == O_WRONLY) from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) return;
    to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    while (to >= 0 && (count = real_pread(from, buffer, sizeof buffer, at)) > 0 && real_write(to, buffer, count) == count)
        at += count;
    if (to >= 0) close(to);
    if (from != file) close(from);
    rename(temporary, target);
}

static int sync_file(int file, int (*real)(int)) {
    char path[PATH_MAX];
    const char *name = name_of(file, path);
    if (name && control[FSYNC_FAILS]) {
        errno = EIO;
        return -1;
    }
    int result = real(file);
    if (!name || !synced || result) return result;
    if (*name) {
        keep(file, path, name);
    } else { /* the directory: the one rename in it is durable now */
        char from[PATH_MAX], to[PATH_MAX], there[PATH_MAX];
        snprintf(there, sizeof there, "%s/signer-state.new", data);
        snprintf(from, sizeof from, "%s/signer-state.new", synced);
        snprintf(to, sizeof to, "%s/signer-state", synced);
        if (access(there, F_OK)) rename(from, to);
    }
    return result;
}

int fsync(int file) { return sync_file(file, real_fsync); }
int fdatasync(int file) { return sync_file(file, real_fdatasync); }

static int is_full(int file) {
    char path[PATH_MAX];
    const char *name;
    if (!control || !control[DISK_FULL]) return 0;
    name = name_of(file, path);
    if (!name || !*name) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    return is_full(file) ? -1 : real_write(file, bytes, count);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
    return is_full(file) ? -1 : real_pwrite(file, bytes, count, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) {
    return is_full(file) ? -1 : real_pwrite(file, bytes, count, at);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = real_clock(clock, time);
    if (!result && control && clock == CLOCK_REALTIME) {
        int64_t now = (int64_t)time->tv_sec * 1000000000 + time->tv_nsec + control[CLOCK_OFFSET_NS];
        time->tv_sec = now / 1000000000;
        time->tv_nsec = now % 1000000000;
    }
    return result;
}
