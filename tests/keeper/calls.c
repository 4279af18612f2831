// Notes what a process does to files, in order, in the file that LOCKGATE_TEST_CALLS names; loaded before the C library.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void note(const char *what, const char *path, const char *to) {
    const char *log = getenv("LOCKGATE_TEST_CALLS");
    char line[9000];
    int length = snprintf(line, sizeof line, "%s %s%s%s\n", what, path, *to ? " " : "", to);
    int file = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (file >= 0 && write(file, line, length) != length) abort();
    if (file >= 0) close(file);
}

static void note_descriptor(const char *what, int descriptor) {
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    note(what, path, "");
}

int fsync(int descriptor) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    int result = real(descriptor);
    note_descriptor("sync", descriptor);
    return result;
}

int fdatasync(int descriptor) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int result = real(descriptor);
    note_descriptor("sync", descriptor);
    return result;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    note_descriptor("write", descriptor);
    return real(descriptor, bytes, count, at);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    note("rename", from, to);
    return real(from, to);
}

int unlink(const char *path) {
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    note("unlink", path, "");
    return real(path);
}
