/* Stands for a network file system and for one without locks; preloaded into a test's process (LD_PRELOAD).
   FAKE_FS_TYPE: the number that statfs gives; FAKE_LOCK_ERRNO: how flock and fcntl locks fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/vfs.h>

int statfs(const char *path, struct statfs *answer) {
  int (*real)(const char *, struct statfs *) = dlsym(RTLD_NEXT, "statfs");
  int result = real(path, answer);
  const char *type = getenv("FAKE_FS_TYPE");
  if (result == 0 && type) answer->f_type = strtol(type, NULL, 0);
  return result;
}

int flock(int file, int operation) {
  int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
  const char *number = getenv("FAKE_LOCK_ERRNO");
  if (!number) return real(file, operation);
  errno = atoi(number);
  return -1;
}

static int control(const char *name, int file, int command, void *argument) {
  int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
  const char *number = getenv("FAKE_LOCK_ERRNO");
  if (number && (command == F_SETLK || command == F_SETLKW || command == F_GETLK)) {
    errno = atoi(number);
    return -1;
  }
  return real(file, command, argument);
}

int fcntl(int file, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  return control("fcntl", file, command, argument);
}

int fcntl64(int file, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  return control("fcntl64", file, command, argument);
}
