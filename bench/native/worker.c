/*
 * The worker that every supervisor is measured with. Its first act is to write down the time (CLOCK_MONOTONIC, the clock
 * of process.hrtime); then it does what a poller does: one connection to the Bot API root, long polls over it.
 *   worker poll | worker print FILE (copies FILE to stdout, then polls)
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void stamp(void) {
  struct timespec now;
  char line[64];
  clock_gettime(CLOCK_MONOTONIC, &now);
  const char *path = getenv("BENCH_STAMPS");
  int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  int length = snprintf(line, sizeof line, "%lld%09ld %d\n", (long long)now.tv_sec, now.tv_nsec, (int)getpid());
  if (fd >= 0 && write(fd, line, length) == length) close(fd);
}

static void print_file(const char *path) {
  static char bytes[65536];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  for (ssize_t got; fd >= 0 && (got = read(fd, bytes, sizeof bytes)) > 0;)
    for (ssize_t from = 0, put; from < got; from += put)
      if ((put = write(1, bytes + from, got - from)) < 0) exit(1);
}

static void poll_for_ever(void) {
  const char *root = getenv("TELEGRAM_API_ROOT"), *token = getenv("TELEGRAM_BOT_TOKEN");
  struct sockaddr_in address = {.sin_family = AF_INET};
  char bytes[4096];
  int port;
  if (!root || !token || sscanf(root, "http://127.0.0.1:%d", &port) != 1) exit(2);
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) exit(3);
  for (;;) {
    int length = snprintf(bytes, sizeof bytes, "GET /bot%s/getUpdates?timeout=50 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", token);
    if (write(fd, bytes, length) != length || read(fd, bytes, sizeof bytes) <= 0) exit(4);
  }
}

int main(int count, char **words) {
  stamp();
  if (count == 3) print_file(words[2]);
  poll_for_ever();
}
