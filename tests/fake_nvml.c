/* A libnvidia-ml.so.1 for tests, under the unmodified pynvml. What the card is like stands in the folder $FAKE_NVML,
 * and is read anew at every call, so that a test can change it under a jobd that runs:
 *   state      lines of "key number": init, error (what calls return), hang (seconds), total, used, temperature,
 *              power, throttle, xid, unlisted (1: the driver does not say who holds how much), late (1: what the dead
 *              held is still used), busy (percent)
 *   vram/PID   how many MiB that process holds, while it lives
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10 };
#define MIB (1ull << 20)
#define NOT_AVAILABLE (~0ull)

struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
struct sample { unsigned long long at; union { double d; unsigned u; unsigned long long l; } value; };
struct event { void *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; };

static int card;

static long long told(const char *wanted, long long otherwise)
{
    char path[4096], key[64];
    long long value;
    const char *folder = getenv("FAKE_NVML");
    if (!folder)
        return otherwise;
    snprintf(path, sizeof path, "%s/state", folder);
    FILE *file = fopen(path, "r");
    if (!file)
        return otherwise;
    while (fscanf(file, "%63s %lld", key, &value) == 2)
        if (!strcmp(key, wanted))
            otherwise = value;
    fclose(file);
    return otherwise;
}

static int lives(int pid)
{
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'X';
    fclose(file);
    return state != 'Z' && state != 'X';
}

static int call(void)
{
    long long seconds = told("hang", 0);
    while (seconds-- > 0)
        sleep(1);
    return (int)told("error", SUCCESS);
}

/* Visits vram/PID: fills the list with the living (when there is one), and sums what counts as used. */
static unsigned holders(struct process *list, unsigned room, unsigned long long *used)
{
    char path[4096];
    unsigned count = 0;
    const char *folder = getenv("FAKE_NVML");
    snprintf(path, sizeof path, "%s/vram", folder ? folder : "");
    DIR *directory = opendir(path);
    struct dirent *entry;
    *used = 0;
    while (directory && (entry = readdir(directory))) {
        int pid = atoi(entry->d_name);
        long long mib = 0;
        snprintf(path, sizeof path, "%s/vram/%s", folder, entry->d_name);
        FILE *file = pid > 0 ? fopen(path, "r") : NULL;
        if (!file)
            continue;
        if (fscanf(file, "%lld", &mib) != 1)
            mib = 0;
        fclose(file);
        int alive = lives(pid);
        if (alive || told("late", 0))
            *used += mib * MIB;
        if (!alive)
            continue;
        if (list && count < room) {
            list[count].pid = pid;
            list[count].used = told("unlisted", 0) ? NOT_AVAILABLE : mib * MIB;
        }
        count++;
    }
    if (directory)
        closedir(directory);
    return count;
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    call();
    return (int)told("init", SUCCESS);
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int error)
{
    static char words[64];
    snprintf(words, sizeof words, "fake error %d", error);
    return words;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    *handle = &card;
    return index ? NOT_FOUND : call();
}

int nvmlDeviceGetName(void *handle, char *name, unsigned length)
{
    (void)handle;
    snprintf(name, length, "Fake GeForce");
    return call();
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory *memory)
{
    (void)handle;
    holders(NULL, 0, &memory->used);
    memory->used += told("used", 300) * MIB;
    memory->total = told("total", 16376) * MIB;
    memory->reserved = 0;
    memory->free = memory->used < memory->total ? memory->total - memory->used : 0;
    return call();
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *list)
{
    (void)handle;
    unsigned long long used;
    unsigned room = *count;
    *count = holders(list, room, &used);
    int error = call();
    return error ? error : *count > (list ? room : 0) ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, struct process *list)
{
    (void)handle, (void)list;
    *count = 0;
    return call();
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates)
{
    (void)handle;
    rates[0] = (unsigned)told("busy", 0), rates[1] = 0;
    return call();
}

/* A sample every 200 ms; none while the card is idle, as real ones do. */
int nvmlDeviceGetSamples(void *handle, int type, unsigned long long since, int *kind, unsigned *count, struct sample *list)
{
    (void)handle, (void)type;
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    unsigned long long newest = now.tv_sec * 1000000ull + now.tv_nsec / 1000, step = 200000, found = 0;
    unsigned busy = (unsigned)told("busy", 0);
    if (!busy)
        return NOT_FOUND;
    *kind = 1;
    newest -= newest % step;
    for (unsigned long long at = newest - 20 * step; at <= newest; at += step)
        if (at > since) {
            if (list && found < *count)
                list[found] = (struct sample){ .at = at, .value.u = busy };
            found++;
        }
    *count = (unsigned)found;
    return found ? call() : NOT_FOUND;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts)
{
    (void)handle;
    *milliwatts = (unsigned)told("power", 285) * 1000;
    return call();
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees)
{
    (void)handle, (void)sensor;
    *degrees = (unsigned)told("temperature", 61);
    return call();
}

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, unsigned long long *reasons)
{
    (void)handle;
    *reasons = (unsigned long long)told("throttle", 0);
    return call();
}

int nvmlDeviceGetPersistenceMode(void *handle, unsigned *mode)
{
    (void)handle;
    *mode = (unsigned)told("persistence", 1);
    return call();
}

int nvmlEventSetCreate(void **set)
{
    *set = &card;
    return call();
}

int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, void *set)
{
    (void)handle, (void)types, (void)set;
    return call();
}

/* An Xid is told once to each process that asks. */
int nvmlEventSetWait_v2(void *set, struct event *event, unsigned timeout_ms)
{
    static long long last;
    (void)set, (void)timeout_ms;
    long long xid = told("xid", 0);
    if (xid == last)
        return TIMEOUT;
    last = xid;
    memset(event, 0, sizeof *event);
    event->type = 8, event->data = (unsigned long long)xid;
    return xid ? SUCCESS : TIMEOUT; /* also of a card that is lost */
}
