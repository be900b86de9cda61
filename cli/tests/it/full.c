/* Lets writes to files of the log fail, while the first byte of the file BEKK_TEST_FULL is '1' as on a full disk, and while
   it is '2' as with a quota that is used up. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int refusal(int fd)
{
    const char *path = getenv("BEKK_TEST_FULL");
    char byte = '0', link[64], name[4096];
    int flag = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length;

    if (flag < 0)
        return 0;
    if (read(flag, &byte, 1) != 1)
        byte = '0';
    close(flag);
    if (byte != '1' && byte != '2')
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, name, sizeof name - 1);
    if (length <= 0)
        return 0;
    name[length] = 0;
    if (strstr(name, "/.bekk/log/") == NULL)
        return 0;
    return byte == '1' ? ENOSPC : EDQUOT;
}

#define REFUSE(fd) { int why = refusal(fd); if (why) { errno = why; return -1; } }

ssize_t write(int fd, const void *bytes, size_t length)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (real == NULL)
        real = dlsym(RTLD_NEXT, "write");
    REFUSE(fd)
    return real(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    static ssize_t (*real)(int, const struct iovec *, int);

    if (real == NULL)
        real = dlsym(RTLD_NEXT, "writev");
    REFUSE(fd)
    return real(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);

    if (real == NULL)
        real = dlsym(RTLD_NEXT, "pwrite64");
    REFUSE(fd)
    return real(fd, bytes, length, at);
}
