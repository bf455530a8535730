/* libnvidia-ml.so.1 for tests and the lab: the part of NVML that the exporter calls, driven by a text file.
 *
 * MELTGUARD_STUB_STATE names a file of lines "key=value". Keys without a prefix concern the driver, "gpu.N." one GPU:
 *   count, init_status, init_hang, status (every call answers with it), lock_hang (a hung call holds up every other one)
 *   gpu.N.hang=none|all|FUNCTION   gpu.N.delay_us   gpu.N.status (15 = lost)   gpu.N.garbage=0|1|2
 *   gpu.N.power_watts, ambient_celsius, celsius_per_watt, time_constant_seconds (above 0), utilization, memory_used_mib, xid, xid_sequence, mig, processes, pid, sm_util
 *   gpu.N.power_brake=0|1   gpu.N.ecc_uncorrected (a count)   gpu.N.remap_failed=0|1
 * The file is read again when its time stamp or size changes, also while a call hangs. Lines that make no sense are
 * skipped. What real hardware keeps across processes (temperature, energy, throttle times, delivered XIDs) lives in a
 * shared mapping beside the file. DRIVER_MAJOR at build time leaves out the symbols that such a driver lacks.
 *
 * Limits of its truth: one RC stage per sensor instead of many, no fans' inertia, no refresh periods (every call sees
 * a new value), no power integration inside the board, calls cost nothing unless delay_us says so, and no lock inside
 * the driver unless lock_hang says so. Temperatures are whole degrees as in the real thing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef DRIVER_MAJOR
#define DRIVER_MAJOR 580
#endif
#define MAX_GPUS 16
#define NO_REASONS 5
#define OK 0
#define INVALID 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define TOO_SMALL 7
#define TIMED_OUT 10
#define BASE 0x1000
#define MIG_BASE 0x2000

typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct { /* one GPU's settings */
    char hang[64];
    int delay_us, status, garbage, utilization, memory_used_mib, xid, xid_sequence, mig, processes, pid, sm_util;
    int power_brake, ecc_uncorrected, remap_failed;
    double power_watts, ambient_celsius, celsius_per_watt, time_constant_seconds;
} Settings;
typedef struct { /* one GPU's hardware, shared by all processes */
    double last_seconds, celsius, memory_celsius, watts, energy_millijoules, reason_nanoseconds[NO_REASONS];
    int delivered_sequence, started, reasons;
} Hardware;
typedef struct { atomic_int lock; Hardware gpu[MAX_GPUS]; } Shared;

static struct { int count, init_status, init_hang, status, lock_hang; Settings gpu[MAX_GPUS]; } state;
static Shared *shared;
static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER, driver_lock = PTHREAD_MUTEX_INITIALIZER;

static double now_seconds(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec + t.tv_nsec / 1e9; }

static void set_defaults(void) {
    memset(&state, 0, sizeof state);
    state.count = 8;
    for (int i = 0; i < MAX_GPUS; i++) {
        Settings *g = &state.gpu[i];
        strcpy(g->hang, "none");
        g->power_watts = 300 + 20 * (i % 8);
        g->ambient_celsius = 26;
        g->celsius_per_watt = 0.09;
        g->time_constant_seconds = 12;
        g->utilization = 80;
        g->memory_used_mib = 40000;
        g->processes = 1;
        g->pid = 1000 + i;
        g->sm_util = 60;
    }
}

static void apply(const char *key, const char *value) {
    int gpu, n = 0;
    if (sscanf(key, "gpu.%d.%n", &gpu, &n) == 1 && n > 0) {
        if (gpu < 0 || gpu >= MAX_GPUS) return;
        Settings *g = &state.gpu[gpu];
        const char *k = key + n;
        if (!strcmp(k, "hang")) { snprintf(g->hang, sizeof g->hang, "%s", value); return; }
        if (!strcmp(k, "power_watts")) { g->power_watts = atof(value); return; }
        if (!strcmp(k, "ambient_celsius")) { g->ambient_celsius = atof(value); return; }
        if (!strcmp(k, "celsius_per_watt")) { g->celsius_per_watt = atof(value); return; }
        if (!strcmp(k, "time_constant_seconds")) { double s = atof(value); if (s > 0) g->time_constant_seconds = s; return; }
        struct { const char *k; int *v; } ints[] = {{"delay_us", &g->delay_us}, {"status", &g->status}, {"garbage", &g->garbage},
            {"utilization", &g->utilization}, {"memory_used_mib", &g->memory_used_mib}, {"xid", &g->xid},
            {"xid_sequence", &g->xid_sequence}, {"mig", &g->mig}, {"processes", &g->processes}, {"pid", &g->pid}, {"sm_util", &g->sm_util},
            {"power_brake", &g->power_brake}, {"ecc_uncorrected", &g->ecc_uncorrected}, {"remap_failed", &g->remap_failed}};
        for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) if (!strcmp(k, ints[i].k)) *ints[i].v = atoi(value);
        return;
    }
    if (!strcmp(key, "count")) { int c = atoi(value); state.count = c < 0 ? 0 : c > MAX_GPUS ? MAX_GPUS : c; }
    else if (!strcmp(key, "init_status")) state.init_status = atoi(value);
    else if (!strcmp(key, "init_hang")) state.init_hang = atoi(value);
    else if (!strcmp(key, "status")) state.status = atoi(value);
    else if (!strcmp(key, "lock_hang")) state.lock_hang = atoi(value);
}

static void refresh(void) {
    static struct stat seen;
    static int started;
    const char *path = getenv("MELTGUARD_STUB_STATE");
    struct stat st;
    pthread_mutex_lock(&state_lock);
    if (!started) { set_defaults(); started = 1; }
    if (path && !stat(path, &st) && (st.st_mtim.tv_nsec != seen.st_mtim.tv_nsec || st.st_mtim.tv_sec != seen.st_mtim.tv_sec ||
        st.st_size != seen.st_size || st.st_ino != seen.st_ino)) {
        FILE *f = fopen(path, "r");
        char line[256];
        if (f) {
            set_defaults();
            while (fgets(line, sizeof line, f)) {
                line[strcspn(line, "\r\n")] = 0;
                char *equals = strchr(line, '=');
                if (equals) { *equals = 0; apply(line, equals + 1); }
            }
            fclose(f);
            seen = st;
        }
    }
    pthread_mutex_unlock(&state_lock);
}

static void map_shared(void) {
    static Shared fallback;
    const char *path = getenv("MELTGUARD_STUB_STATE");
    char name[4096];
    pthread_mutex_lock(&state_lock);
    if (!shared) {
        shared = &fallback;
        if (path) {
            snprintf(name, sizeof name, "%s.hardware", path);
            int fd = open(name, O_RDWR | O_CREAT, 0600);
            if (fd >= 0 && !ftruncate(fd, sizeof(Shared))) {
                void *p = mmap(0, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                if (p != MAP_FAILED) shared = p;
            }
            if (fd >= 0) close(fd);
        }
    }
    pthread_mutex_unlock(&state_lock);
}

/* A process killed inside the lock must not hold up the others: after 2 ms it is taken over. */
static void lock_shared(void) {
    int free = 0;
    for (int i = 0; i < 200; i++) { if (atomic_compare_exchange_strong(&shared->lock, &free, 1)) return; free = 0; usleep(10); }
}
static void unlock_shared(void) { atomic_store(&shared->lock, 0); }

static int index_of(void *d) {
    uintptr_t a = (uintptr_t)d;
    if (a >= MIG_BASE && a < MIG_BASE + 0x10 * MAX_GPUS) return (int)(a - MIG_BASE) / 0x10;
    if (a >= BASE && a < BASE + MAX_GPUS) return (int)(a - BASE);
    return -1;
}

/* Every call begins here: the file is read, the call hangs, fails or waits as it says. */
static int enter(void *d, const char *function) {
    refresh();
    int i = index_of(d);
    if (i < 0) return INVALID;
    Settings *g = &state.gpu[i];
    int holds = 0;
    pthread_mutex_lock(&driver_lock);
    while (!strcmp(g->hang, "all") || !strcmp(g->hang, function)) {
        if (state.lock_hang) holds = 1; else if (!holds) { pthread_mutex_unlock(&driver_lock); holds = 2; }
        usleep(5000);
        refresh();
    }
    if (holds != 2) pthread_mutex_unlock(&driver_lock);
    if (g->delay_us > 0) usleep(g->delay_us);
    if (state.status) return state.status;
    if (i >= state.count) return 15;
    return g->status;
}

/* First-order RC stage: T' = (ambient + R P - T) / tau, exact for constant power. Above 87 C the clocks and the power
 * fall (software), above 89 C further (hardware), and the counters of both run. */
static Hardware step(int i) {
    map_shared();
    Settings *g = &state.gpu[i];
    lock_shared();
    Hardware *h = &shared->gpu[i];
    double now = now_seconds();
    if (!h->started) { h->started = 1; h->last_seconds = now; h->celsius = g->ambient_celsius + g->celsius_per_watt * g->power_watts; h->memory_celsius = h->celsius + 4; h->watts = g->power_watts; }
    double dt = now - h->last_seconds;
    if (dt > 0) {
        h->reasons = (h->celsius >= 87 ? 0x20 : 0) | (h->celsius >= 89 ? 0x48 : 0) | (g->power_watts > 700 ? 0x4 : 0) | (g->power_brake ? 0x88 : 0);
        h->watts = fmin(g->power_watts, 700) * (h->celsius >= 89 ? 0.5 : h->celsius >= 87 ? 0.8 : 1.0);
        double a = 1 - exp(-dt / g->time_constant_seconds), b = 1 - exp(-dt / 30);
        h->celsius += a * (g->ambient_celsius + g->celsius_per_watt * h->watts - h->celsius);
        h->memory_celsius += b * (g->ambient_celsius + 4 + g->celsius_per_watt * h->watts - h->memory_celsius);
        h->energy_millijoules += h->watts * dt * 1e3;
        static const int bits[NO_REASONS] = {0x4, 0x10, 0x20, 0x40, 0x80};
        for (int r = 0; r < NO_REASONS; r++) if (h->reasons & bits[r]) h->reason_nanoseconds[r] += dt * 1e9;
        h->last_seconds = now;
    }
    Hardware copy = *h;
    unlock_shared();
    return copy;
}

#define ENTER(d) int r_ = enter(d, __func__), i = index_of(d); if (r_) return r_; Settings *g = &state.gpu[i]; (void)g
#define HARDWARE(d) ENTER(d); Hardware h = step(i)
/* garbage=1: numbers far outside; garbage=2: jumps between two plausible ones. */
static int jump(Settings *g) { return g->garbage == 2 && ((long)(now_seconds()) & 1); }

int nvmlInitWithFlags(u32 flags) { (void)flags; refresh(); while (state.init_hang) { usleep(5000); refresh(); } map_shared(); return state.init_status; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int r) { return r ? "stubbed error" : "success"; }
int nvmlSystemGetDriverVersion(char *v, u32 n) { snprintf(v, n, "%d.95.05", DRIVER_MAJOR); return OK; }
int nvmlDeviceGetCount_v2(u32 *c) { refresh(); *c = state.count; return state.status; }
int nvmlDeviceGetHandleByIndex_v2(u32 n, void **d) { refresh(); if (n >= (u32)state.count) return INVALID; *d = (void *)(uintptr_t)(BASE + n); return enter(*d, __func__); }
int nvmlDeviceGetUUID(void *d, char *u, u32 n) {
    int i = index_of(d);
    if (i < 0) return INVALID;
    if ((uintptr_t)d >= MIG_BASE) snprintf(u, n, "MIG-%08x-0000-4000-8000-%012x", i, (u32)((uintptr_t)d & 0xf));
    else snprintf(u, n, "GPU-%08x-0000-4000-8000-000000000000", i);
    return state.gpu[i].status;
}
int nvmlDeviceGetName(void *d, char *u, u32 n) { if (index_of(d) < 0) return INVALID; snprintf(u, n, DRIVER_MAJOR < 500 ? "NVIDIA A100-SXM4-80GB" : "NVIDIA H200"); return OK; }
typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
int nvmlDeviceGetPciInfo_v3(void *d, Pci *p) { int i = index_of(d); if (i < 0) return INVALID; memset(p, 0, sizeof *p); snprintf(p->bus_id, 32, "00000000:%02X:00.0", i + 1); return OK; }
int nvmlDeviceGetMinorNumber(void *d, u32 *m) { int i = index_of(d); if (i < 0) return INVALID; *m = i; return OK; }

static int celsius_of(Hardware h, Settings *g) { return g->garbage == 1 ? 644245923 : (int)floor(h.celsius) + (jump(g) ? 60 : 0); }
int nvmlDeviceGetTemperature(void *d, int sensor, u32 *t) { HARDWARE(d); (void)sensor; *t = celsius_of(h, g); return OK; }
#if DRIVER_MAJOR >= 570
typedef struct { u32 version; int sensor, celsius; } TemperatureV;
int nvmlDeviceGetTemperatureV(void *d, TemperatureV *t) { HARDWARE(d); t->celsius = celsius_of(h, g); return OK; }
typedef struct { u32 version; int celsius; } Margin;
int nvmlDeviceGetMarginTemperature(void *d, Margin *m) { HARDWARE(d); m->celsius = g->garbage == 1 ? -99999 : 87 - (int)floor(h.celsius); return OK; }
int nvmlDeviceGetCurrentClocksEventReasons(void *d, u64 *b) { HARDWARE(d); *b = h.reasons; return OK; }
#endif
int nvmlDeviceGetCurrentClocksThrottleReasons(void *d, u64 *b) { HARDWARE(d); *b = h.reasons; return OK; }
int nvmlDeviceGetTemperatureThreshold(void *d, int which, u32 *t) {
    ENTER(d);
    static const u32 celsius[] = {92, 89, 95, 85};
    if (DRIVER_MAJOR >= 570 || which < 0 || which > 3) return NOT_SUPPORTED;
    *t = celsius[which];
    return OK;
}
int nvmlDeviceGetPowerUsage(void *d, u32 *p) { HARDWARE(d); *p = g->garbage == 1 ? 4294967295u : (u32)(h.watts * 1000); return OK; }
int nvmlDeviceGetTotalEnergyConsumption(void *d, u64 *e) { HARDWARE(d); *e = g->garbage == 1 ? (u64)now_seconds() * 977ull % 100000 * 1000000000000ull : (u64)h.energy_millijoules; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(void *d, u32 *p) { ENTER(d); *p = 700000; return OK; }
int nvmlDeviceGetPowerManagementLimitConstraints(void *d, u32 *low, u32 *high) { ENTER(d); *low = 200000; *high = 700000; return OK; }
int nvmlDeviceGetPowerManagementDefaultLimit(void *d, u32 *p) { ENTER(d); *p = 700000; return OK; }
typedef struct { u32 gpu, memory; } Rates;
int nvmlDeviceGetUtilizationRates(void *d, Rates *u) { ENTER(d); if (g->mig) return NOT_SUPPORTED; u->gpu = g->garbage == 1 ? 4000000000u : (u32)g->utilization; u->memory = u->gpu / 2; return OK; }
int nvmlDeviceGetEncoderUtilization(void *d, u32 *u, u32 *period) { ENTER(d); *u = 0; *period = 167000; return OK; }
int nvmlDeviceGetDecoderUtilization(void *d, u32 *u, u32 *period) { ENTER(d); *u = 0; *period = 167000; return OK; }
typedef struct { u64 total, free, used; } Memory;
typedef struct { u32 version; u64 total, reserved, free, used; } Memory2;
#define TOTAL (143771ull << 20)
#define RESERVED (600ull << 20)
static u64 used_of(Settings *g) { return g->garbage == 1 ? ~0ull : (u64)g->memory_used_mib << 20; }
int nvmlDeviceGetMemoryInfo(void *d, Memory *m) { ENTER(d); m->total = TOTAL; m->used = used_of(g) + RESERVED; m->free = TOTAL - m->used; return OK; }
#if DRIVER_MAJOR >= 510
int nvmlDeviceGetMemoryInfo_v2(void *d, Memory2 *m) { ENTER(d); m->total = TOTAL; m->reserved = RESERVED; m->used = used_of(g); m->free = TOTAL - RESERVED - m->used; return OK; }
#endif
int nvmlDeviceGetClockInfo(void *d, int which, u32 *mhz) { HARDWARE(d); if (which < 0 || which > 3) return INVALID; *mhz = which == 2 ? 3201 : h.reasons & 0x60 ? 1200 : 1980; if (g->garbage == 1) *mhz = 4294967295u; return OK; }
int nvmlDeviceGetMaxClockInfo(void *d, int which, u32 *mhz) { ENTER(d); if (which < 0 || which > 3) return INVALID; *mhz = which == 2 ? 3201 : 1980; return OK; }
int nvmlDeviceGetPerformanceState(void *d, int *p) { ENTER(d); *p = 0; return OK; }
int nvmlDeviceGetRemappedRows(void *d, u32 *c, u32 *u, u32 *pending, u32 *failed) { ENTER(d); *c = 1; *u = *pending = 0; *failed = g->remap_failed; return OK; }
int nvmlDeviceGetNumFans(void *d, u32 *n) { ENTER(d); *n = 0; return OK; }
int nvmlDeviceGetFanSpeed_v2(void *d, u32 fan, u32 *s) { ENTER(d); (void)fan; *s = 0; return INVALID; }
int nvmlDeviceGetCurrPcieLinkGeneration(void *d, u32 *v) { ENTER(d); *v = 5; return OK; }
int nvmlDeviceGetCurrPcieLinkWidth(void *d, u32 *v) { ENTER(d); *v = 16; return OK; }

typedef struct { u32 field, scope; long long timestamp, latency; int type, status; union { double d; u32 u; u64 ull; long long sll; int s; } value; } Field;
int nvmlDeviceGetFieldValues(void *d, int n, Field *f) {
    HARDWARE(d);
    for (int k = 0; k < n; k++) {
        Field *v = &f[k];
        v->status = OK; v->type = 3; v->value.ull = 0; v->latency = 5;
        switch (v->field) {
        case 82: v->type = 1; v->value.u = g->garbage == 1 ? 82505 : (u32)floor(h.memory_celsius); break;
        case 185: case 186: v->type = 1; v->value.u = (u32)(h.watts * 1000); if (DRIVER_MAJOR < 535) v->status = NOT_SUPPORTED; break;
        case 74: v->value.ull = (u64)h.reason_nanoseconds[0]; break;
        case 76: v->value.ull = (u64)h.reason_nanoseconds[1]; break;
        case 269: case 270: case 271: v->value.ull = (u64)h.reason_nanoseconds[v->field - 267]; if (DRIVER_MAJOR < 575) v->status = NOT_SUPPORTED; break;
        case 193: v->type = 5; v->value.s = -8; break;
        case 194: v->type = 5; v->value.s = -2; break;
        case 195: case 196: v->type = 5; v->value.s = 0; break;
        case 94: v->type = 1; v->value.u = 3; break;
        case 138: case 139: v->value.ull = (u64)(h.energy_millijoules / 100); break;
        case 197: case 198: v->value.ull = (u64)(h.energy_millijoules * 10); break;
        case 4: case 6: v->value.ull = (u64)g->ecc_uncorrected; break;
        case 3: case 5: case 38: case 45: case 52: case 59: break;
        default: v->status = NOT_SUPPORTED;
        }
        if (v->field >= 193 && v->field <= 196 && DRIVER_MAJOR < 570) v->status = NOT_SUPPORTED;
    }
    return OK;
}

typedef struct { u32 pid; u64 memory; u32 gpu_instance, compute_instance; } Process;
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, u32 *n, Process *p) {
    ENTER(d);
    u32 have = g->processes < 0 ? 0 : (u32)g->processes, room = *n;
    *n = have;
    if (!have) return OK;
    if (!p || room < have) return TOO_SMALL;
    for (u32 k = 0; k < have; k++) p[k] = (Process){.pid = g->pid + k, .memory = 1ull << 30, .gpu_instance = ~0u, .compute_instance = ~0u};
    return OK;
}
typedef struct { u32 pid; u64 timestamp; u32 sm, memory, encoder, decoder; } Sample;
int nvmlDeviceGetProcessUtilization(void *d, Sample *s, u32 *n, u64 since) {
    ENTER(d);
    u32 have = g->processes < 0 ? 0 : (u32)g->processes, room = *n;
    u64 now = (u64)(now_seconds() * 1e6);
    if (!have || now <= since) return NOT_FOUND;
    *n = have;
    if (!s || room < have) return TOO_SMALL;
    for (u32 k = 0; k < have; k++) s[k] = (Sample){.pid = g->pid + k, .timestamp = now, .sm = g->sm_util / have};
    return OK;
}

int nvmlDeviceGetMigMode(void *d, u32 *current, u32 *pending) { ENTER(d); *current = *pending = g->mig > 0; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *d, u32 n, void **m) { ENTER(d); if (n >= (u32)g->mig || n > 6) return NOT_FOUND; *m = (void *)(uintptr_t)(MIG_BASE + 0x10 * i + n); return OK; }
int nvmlDeviceGetGpuInstanceId(void *d, u32 *v) { ENTER(d); *v = 7 + ((uintptr_t)d & 0xf); return OK; }
int nvmlDeviceGetComputeInstanceId(void *d, u32 *v) { ENTER(d); *v = 0; return OK; }
typedef struct { u32 sm, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices; u64 memory_mib; } Attributes;
int nvmlDeviceGetAttributes_v2(void *d, Attributes *a) { ENTER(d); memset(a, 0, sizeof *a); a->gpu_slices = a->compute_slices = 1; a->memory_mib = 18 * 1024; return OK; }

#if DRIVER_MAJOR >= 535
typedef struct { u32 version, supported; } GpmSupport;
int nvmlGpmQueryDeviceSupport(void *d, GpmSupport *s) { ENTER(d); s->supported = 1; return OK; }
int nvmlGpmSampleAlloc(void **s) { *s = calloc(1, 16); return OK; }
int nvmlGpmSampleFree(void *s) { free(s); return OK; }
int nvmlGpmSampleGet(void *d, void *s) { ENTER(d); *(int *)s = g->utilization; return OK; }
typedef struct { u32 id; int status; double value; void *names[3]; } GpmMetric;
typedef struct { u32 version, count; void *first, *second; GpmMetric metrics[1]; } GpmRequest;
int nvmlGpmMetricsGet(GpmRequest *r) { for (u32 k = 0; k < r->count; k++) { r->metrics[k].status = OK; r->metrics[k].value = *(int *)r->second * (r->metrics[k].id == 5 ? 0.4 : 0.9); } return OK; }
#endif

typedef struct { void *device; u64 type, data; u32 gpu_instance, compute_instance; } Event;
int nvmlEventSetCreate(void **s) { *s = (void *)1; return OK; }
int nvmlDeviceRegisterEvents(void *d, u64 types, void *s) { ENTER(d); (void)types; (void)s; return OK; }
int nvmlEventSetWait_v2(void *s, Event *e, u32 timeout_milliseconds) {
    (void)s;
    double end = now_seconds() + timeout_milliseconds / 1e3;
    map_shared();
    do {
        refresh();
        if (state.status) return state.status;
        for (int i = 0; i < state.count; i++) if (state.gpu[i].xid_sequence > shared->gpu[i].delivered_sequence) {
            shared->gpu[i].delivered_sequence++;
            *e = (Event){.device = (void *)(uintptr_t)(BASE + i), .type = 8, .data = state.gpu[i].xid};
            return OK;
        }
        usleep(50000);
    } while (now_seconds() < end);
    return TIMED_OUT;
}
