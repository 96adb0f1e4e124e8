/* Between one process and its disk, by LD_PRELOAD: queue.db's calls are counted, held up, failed or written down.
   Only the process that was started with it: it forgets its own environment at once, so no child inherits it.

   DISK_ORDER  a file that holds struct order, mapped: the test says at which call what happens
   DISK_TRACE  a file to append to: a line for each call, then its bytes; see trace() and disk.py
   DISK_BOOT   a file that is opened instead of the kernel's boot id */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
enum { STAND_BEFORE = -1, STAND_AFTER = -2 }; /* any other `what` is the errno the call fails with */

static volatile struct order {
    int at;    /* the first call it happens at, from 1; 0: never */
    int times; /* and at how many in a row */
    int what;
    int seen; /* calls so far */
} *order;
static int journal = -1;
static char boot[4096];

static char *take(const char *name) {
    char *value = getenv(name);
    value = value ? strdup(value) : NULL;
    unsetenv(name);
    return value;
}

__attribute__((constructor)) static void begin(void) {
    char *path;
    if ((path = take("DISK_ORDER"))) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *map = mmap(NULL, sizeof *order, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            abort();
        order = map;
        close(fd);
    }
    if ((path = take("DISK_TRACE")))
        journal = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if ((path = take("DISK_BOOT")))
        snprintf(boot, sizeof boot, "%s", path);
    take("LD_PRELOAD");
}

/* The name of the file behind fd when it is the queue or its log, or (folder) when it is a folder; else NULL. */
static const char *queue_file(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n < 0)
        return NULL;
    path[n] = 0;
    char *name = strrchr(path, '/');
    if (!name)
        return NULL;
    name++;
    return strcmp(name, "queue.db") == 0 || strcmp(name, "queue.db-wal") == 0 ? name : NULL;
}

static void trace(char what, const char *name, long long at, const void *data, size_t n) {
    char line[256];
    if (journal < 0)
        return;
    int length = snprintf(line, sizeof line, "%c %d %s %lld %zu\n", what, getpid(), name, at, n);
    struct iovec parts[2] = {{line, (size_t)length}, {(void *)data, n}};
    if (writev(journal, parts, 2) != (ssize_t)(length + n))
        abort();
}

/* Count a call. 0: make it; 1: make it, then stand still; -1: it fails, errno is set. */
static int due(void) {
    if (!order || !order->at)
        return 0;
    int n = ++order->seen;
    if (n < order->at || n >= order->at + order->times)
        return 0;
    if (order->what == STAND_AFTER)
        return 1;
    if (order->what == STAND_BEFORE) {
        kill(getpid(), SIGSTOP);
        return 0;
    }
    errno = order->what;
    return -1;
}

static void stand(int verdict) {
    int kept = errno;
    if (verdict == 1)
        kill(getpid(), SIGSTOP);
    errno = kept;
}

#define REAL(type, name, ...)                                                                                        \
    static type (*real)(__VA_ARGS__);                                                                                \
    if (!real)                                                                                                       \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t put(ssize_t (*real)(int, const void *, size_t, off64_t), int fd, const void *data, size_t n, off64_t at) {
    char path[4096];
    const char *name = queue_file(fd, path, sizeof path);
    int verdict = name ? due() : 0;
    if (verdict < 0)
        return -1;
    ssize_t done = real(fd, data, n, at);
    if (name && done > 0)
        trace('w', name, at, data, (size_t)done);
    stand(verdict);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return put(real, fd, data, n, at);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return put((ssize_t(*)(int, const void *, size_t, off64_t))real, fd, data, n, at);
}

static int cut(int (*real)(int, off64_t), int fd, off64_t size) {
    char path[4096];
    const char *name = queue_file(fd, path, sizeof path);
    int verdict = name ? due() : 0;
    if (verdict < 0)
        return -1;
    int done = real(fd, size);
    if (name && done == 0)
        trace('t', name, size, "", 0);
    stand(verdict);
    return done;
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    return cut(real, fd, size);
}

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    return cut((int (*)(int, off64_t))real, fd, size);
}

/* A sync makes durable what was written before it began: both its ends are written down. */
static int settle(int (*real)(int), int fd) {
    char path[4096];
    struct stat about;
    const char *name = queue_file(fd, path, sizeof path);
    int verdict = name ? due() : 0;
    if (verdict < 0)
        return -1;
    if (!name && journal >= 0 && fstat(fd, &about) == 0 && S_ISDIR(about.st_mode))
        name = "(folder)";
    if (name)
        trace('S', name, 0, "", 0);
    int done = real(fd);
    if (name && done == 0)
        trace('s', name, 0, "", 0);
    stand(verdict);
    return done;
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return settle(real, fd);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return settle(real, fd);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    const char *name = strrchr(path, '/');
    int done = real(path);
    if (done == 0 && name && strcmp(name + 1, "queue.db-wal") == 0)
        trace('u', name + 1, 0, "", 0);
    return done;
}

/* What a person reads is written down before they can: what the disk holds then is what was promised. */
ssize_t write(int fd, const void *data, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    char path[4096];
    if (fd == 1)
        trace('p', "(stdout)", 0, data, n);
    const char *name = fd > 2 && (order || journal >= 0) ? queue_file(fd, path, sizeof path) : NULL;
    if (name)
        abort(); /* SQLite writes with pwrite: were this to change, nothing would be counted */
    return real(fd, data, n);
}

static const char *instead(const char *path) { return boot[0] && strcmp(path, BOOT_ID) == 0 ? boot : path; }

int open64(const char *path, int flags, ...) {
    REAL(int, "open64", const char *, int, ...);
    va_list more;
    va_start(more, flags);
    int fd = real(instead(path), flags, va_arg(more, int));
    va_end(more);
    return fd;
}

int open(const char *path, int flags, ...) {
    REAL(int, "open", const char *, int, ...);
    va_list more;
    va_start(more, flags);
    int fd = real(instead(path), flags, va_arg(more, int));
    va_end(more);
    return fd;
}
