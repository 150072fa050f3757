/* loadgen: sends one HTTP/1.1 request again and again to 127.0.0.1 and says how long the answers took.
 *
 *   cc -O2 -o loadgen loadgen.c
 *   ./loadgen -p PORT -u PATH -b BODYFILE [-H 'name: value']... [-r RATE] [-n COUNT] [-c CONNECTIONS] [-d SECONDS] [-t SECONDS]
 *
 * -r RATE  open loop: request i is due i/RATE seconds after the start, whatever became of the earlier ones; its
 *          time is counted from then, so a stall is charged to every request that it delays.
 * -r 0     closed loop: each connection sends its next request on the last byte of its answer.
 * It ends after COUNT requests or -d seconds, whichever is first, and waits -t seconds more for answers.
 * Prints one line of JSON: answers, answers other than 200, broken ones, events ("data:" lines), and percentiles
 * of the first byte and of the whole answer in microseconds.  One thread, one epoll.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 32768

typedef enum { HEAD, SIZED_BODY, CHUNKED_BODY, BODY_TO_END } stage_t;
typedef enum { SIZE_LINE, DATA, DATA_END, LAST_LINE } chunk_t;

typedef struct connection {
  int fd;
  bool busy, connected, watches_writes, close_after;
  size_t sent, head_length;
  double due_s, first_s;
  stage_t stage;
  chunk_t chunk;
  char head[HEAD_MAX];
  int status;
  int64_t left;
  size_t matched;   /* bytes of "\ndata:" seen */
  uint64_t events;
} connection;

static char *request;
static size_t request_length;
static int poller, port;
static connection *connections;
static int n_connections = 64;
static double *first_us, *whole_us, rate, end_s;
static size_t n_answers, answers_size;
static uint64_t broken, not_200, n_events, started, count = UINT64_MAX;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void watch_writes(connection *c, bool wanted) {
  if (c->watches_writes == wanted) return;
  struct epoll_event e = {EPOLLIN | (wanted ? EPOLLOUT : 0), {.ptr = c}};
  epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
  c->watches_writes = wanted;
}

static bool dial(connection *c) {
  int one = 1;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  c->connected = connect(c->fd, (void *)&to, sizeof to) == 0;
  if (!c->connected && errno != EINPROGRESS) { close(c->fd); c->fd = -1; return false; }
  c->watches_writes = true;
  struct epoll_event e = {EPOLLIN | EPOLLOUT, {.ptr = c}};
  epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
  return true;
}

static void hang_up(connection *c) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->connected = false;
}

static void send_on(connection *c) {
  while (c->sent < request_length) {
    ssize_t n = write(c->fd, request + c->sent, request_length - c->sent);
    if (n < 0) { if (errno == EAGAIN) watch_writes(c, true); return; }   /* other errors: the read will tell */
    c->sent += n;
  }
  watch_writes(c, false);
}

static void begin(connection *c, double due_s) {
  started++;
  c->busy = true;
  c->due_s = due_s;
  c->first_s = 0;
  c->sent = c->head_length = 0;
  c->stage = HEAD;
  c->close_after = false;
  c->events = 0;
  c->matched = 1;   /* as if a line had just ended */
  if (c->fd >= 0) { if (c->connected) send_on(c); return; }
  if (!dial(c)) broken++, c->busy = false;
  else if (c->connected) send_on(c);
}

static void note(connection *c, double now) {
  if (n_answers == answers_size) {
    answers_size = answers_size ? 2 * answers_size : 65536;
    first_us = realloc(first_us, answers_size * sizeof *first_us);
    whole_us = realloc(whole_us, answers_size * sizeof *whole_us);
    if (!first_us || !whole_us) abort();
  }
  first_us[n_answers] = (c->first_s - c->due_s) * 1e6;
  whole_us[n_answers++] = (now - c->due_s) * 1e6;
  n_events += c->events;
  if (c->status != 200) not_200++;
}

static void finish(connection *c, bool good) {
  double now = now_s();
  c->busy = false;
  if (good) note(c, now); else broken++;
  if (!good || c->close_after) hang_up(c);
  if (rate == 0 && started < count && now < end_s) begin(c, now);
}

static void count_events(connection *c, const char *p, size_t n) {
  static const char wanted[] = "\ndata:";
  for (const char *end = p + n; p < end; p++) {
    if (!c->matched && !(p = memchr(p, '\n', end - p))) return;
    if (*p != wanted[c->matched]) c->matched = *p == '\n';
    else if (!wanted[++c->matched]) c->events++, c->matched = 0;
  }
}

static size_t take_head(connection *c, const char *p, size_t n) {
  size_t room = HEAD_MAX - 1 - c->head_length, k = n < room ? n : room, before = c->head_length;
  memcpy(c->head + before, p, k);
  c->head[c->head_length += k] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (!end) {
    if (c->head_length == HEAD_MAX - 1) finish(c, false);
    return k;
  }
  end[2] = 0;
  size_t used = (size_t)(end + 4 - c->head) - before;
  c->status = c->head_length > 12 ? atoi(c->head + 9) : 0;
  if (c->status == 100) { c->head_length = 0; return used; }
  char *sized = strcasestr(c->head, "\r\ncontent-length:"), *encoded = strcasestr(c->head, "\r\ntransfer-encoding:");
  c->close_after = strcasestr(c->head, "\r\nconnection: close") != NULL;
  if (encoded && strcasestr(encoded, "chunked")) c->stage = CHUNKED_BODY, c->chunk = SIZE_LINE, c->left = 0;
  else if (sized) {
    c->stage = SIZED_BODY;
    if (!(c->left = atoll(sized + 17))) finish(c, true);
  } else c->stage = BODY_TO_END, c->left = INT64_MAX, c->close_after = true;
  return used;
}

static size_t take_data(connection *c, const char *p, size_t n) {
  size_t k = (int64_t)n < c->left ? n : (size_t)c->left;
  count_events(c, p, k);
  c->left -= k;
  return k;
}

static size_t take_chunked(connection *c, const char *p, size_t n) {
  if (c->chunk == DATA) {
    size_t k = take_data(c, p, n);
    if (!c->left) c->chunk = DATA_END;
    return k;
  }
  char ch = *p;
  if (ch == '\n' && c->chunk == LAST_LINE) finish(c, true);
  else if (ch == '\n') c->chunk = c->chunk == DATA_END ? SIZE_LINE : c->left ? DATA : LAST_LINE;
  else if (c->chunk == SIZE_LINE && ch >= '0' && ch <= '9') c->left = c->left * 16 + ch - '0';
  else if (c->chunk == SIZE_LINE && (ch | 32) >= 'a' && (ch | 32) <= 'f') c->left = c->left * 16 + (ch | 32) - 'a' + 10;
  return 1;
}

static void take(connection *c, const char *p, size_t n) {
  uint64_t present = started;   /* a finished answer may start the next request; what is left of p is not its */
  if (c->busy && !c->first_s) c->first_s = now_s();
  while (n && c->busy && present == started) {
    size_t used;
    if (c->stage == HEAD) used = take_head(c, p, n);
    else if (c->stage == CHUNKED_BODY) used = take_chunked(c, p, n);
    else {
      used = take_data(c, p, n);
      if (!c->left) finish(c, true);
    }
    p += used;
    n -= used;
  }
}

static void handle(connection *c, uint32_t what) {
  static char buffer[1 << 18];
  if (c->fd >= 0 && what & EPOLLOUT) {
    int error = 0;
    socklen_t size = sizeof error;
    if (!c->connected) getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { finish(c, false); return; }
    c->connected = true;
    if (c->busy) send_on(c); else watch_writes(c, false);
  }
  if (c->fd < 0 || !(what & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  ssize_t n = read(c->fd, buffer, sizeof buffer);
  if (n > 0) { take(c, buffer, n); return; }
  if (n < 0 && errno == EAGAIN) return;
  if (c->busy && n == 0 && c->stage == BODY_TO_END) finish(c, true);
  else if (c->busy) finish(c, false);
  else hang_up(c);
}

static connection *free_connection(void) {   /* an open one if there is, so that a low rate keeps one connection */
  connection *closed = NULL;
  for (int i = 0; i < n_connections; i++) {
    connection *c = &connections[i];
    if (!c->busy && c->fd >= 0) return c;
    if (!c->busy && !closed) closed = c;
  }
  return closed;
}

/* Starts what is due and says how long to wait for what is not. */
static double start_due(double start_s) {
  for (;;) {
    double due_s = start_s + started / rate, now = now_s();
    if (started >= count || due_s > end_s) return 0.5;
    if (due_s > now) return due_s - now;
    connection *c = free_connection();
    if (!c) return 0.0005;   /* the request stays due, and its wait is counted */
    begin(c, due_s);
  }
}

static bool all_done(double start_s) {
  for (int i = 0; i < n_connections; i++) if (connections[i].busy) return false;
  return started >= count || now_s() >= end_s || (rate > 0 && start_s + started / rate > end_s);
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_percentiles(const char *name, double *v) {
  static const double at[] = {0.5, 0.9, 0.99, 1};
  qsort(v, n_answers, sizeof *v, ascending);
  printf(",\"%s\":{", name);
  for (int i = 0; i < 4; i++) printf("%s\"p%g\":%.0f", i ? "," : "", 100 * at[i], n_answers ? v[(size_t)(at[i] * (n_answers - 1) + 0.5)] : 0);
  printf("}");
}

static void build_request(const char *path, const char *headers, const char *file) {
  struct stat st;
  int fd = open(file, O_RDONLY);
  if (fd < 0 || fstat(fd, &st) || !(request = malloc(st.st_size + HEAD_MAX))) { perror(file); exit(2); }
  request_length = snprintf(request, HEAD_MAX, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n%sContent-Length: %ld\r\n\r\n",
    path, port, headers, (long)st.st_size);
  for (off_t got = 0; got < st.st_size;) {
    ssize_t n = read(fd, request + request_length, st.st_size - got);
    if (n <= 0) { perror(file); exit(2); }
    got += n;
    request_length += n;
  }
  close(fd);
}

int main(int argc, char **argv) {
  const char *path = "/v1/chat/completions", *file = NULL;
  char headers[16384] = "";
  double seconds = 30, patience_s = 60;
  for (int o; (o = getopt(argc, argv, "p:u:b:H:r:n:c:d:t:")) != -1;) switch (o) {
    case 'p': port = atoi(optarg); break;
    case 'u': path = optarg; break;
    case 'b': file = optarg; break;
    case 'H': if (strlen(headers) + strlen(optarg) + 3 > sizeof headers) return 2; strcat(strcat(headers, optarg), "\r\n"); break;
    case 'r': rate = atof(optarg); break;
    case 'n': count = strtoull(optarg, NULL, 10); break;
    case 'c': n_connections = atoi(optarg); break;
    case 'd': seconds = atof(optarg); break;
    case 't': patience_s = atof(optarg); break;
    default: return 2;
  }
  if (!file || !port || n_connections < 1) { fprintf(stderr, "loadgen: -p, -b and -c are needed\n"); return 2; }
  signal(SIGPIPE, SIG_IGN);
  build_request(path, headers, file);
  poller = epoll_create1(0);
  if (!(connections = calloc(n_connections, sizeof *connections))) return 2;
  for (int i = 0; i < n_connections; i++) connections[i].fd = -1;
  double start_s = now_s() + (rate > 0 ? 0.05 : 0);
  end_s = start_s + seconds;
  for (int i = 0; rate == 0 && i < n_connections && started < count; i++) begin(&connections[i], now_s());
  while (!all_done(start_s) && now_s() < end_s + patience_s) {
    struct epoll_event ready[256];
    double wait_s = rate > 0 ? start_due(start_s) : 0.5;
    struct timespec wait = {(time_t)wait_s, (long)((wait_s - (time_t)wait_s) * 1e9)};
    int n = epoll_pwait2(poller, ready, 256, &wait, NULL);
    for (int i = 0; i < n; i++) handle(ready[i].data.ptr, ready[i].events);
  }
  double elapsed_s = now_s() - start_s;
  for (int i = 0; i < n_connections; i++) if (connections[i].busy) broken++;
  printf("{\"answers\":%zu,\"broken\":%llu,\"not_200\":%llu,\"events\":%llu,\"seconds\":%.4f", n_answers,
    (unsigned long long)broken, (unsigned long long)not_200, (unsigned long long)n_events, elapsed_s);
  print_percentiles("first_us", first_us);
  print_percentiles("whole_us", whole_us);
  printf("}\n");
  return 0;
}
