/* mock_upstream: an OpenAI-shaped chat endpoint that costs next to nothing, for measuring gateways.
 *
 *   cc -O2 -o mock_upstream mock_upstream.c && ./mock_upstream PORT
 *
 * A POST is answered with about 1 kB of JSON or, when its body asks for "stream":true, with 50 server-sent
 * events (one write each) and [DONE]; "include_usage":true adds one more event before [DONE], as OpenAI does.
 * The model's name sets the timing: mock-d50 waits 50 ms before the first byte, mock-d50-i10 also 10 ms
 * between events.  A GET lists one model.  Fields are looked for in the first and the last 16 KiB of a body.
 * Listens on 127.0.0.1 only; one thread, one epoll.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 65536
#define KEPT 16384
#define OUT_MAX 65536
#define EVENTS 50

typedef enum { HEAD, SIZED_BODY, CHUNKED_BODY, ANSWERING } stage_t;
typedef enum { SIZE_LINE, DATA, DATA_END, LAST_LINE } chunk_t;
typedef struct { char bytes[1024]; size_t length; } text_t;

typedef struct connection {
  int fd;
  stage_t stage;
  char head[HEAD_MAX], first[KEPT], last[KEPT], out[OUT_MAX];
  size_t head_length, first_length, last_length, out_length, out_sent;
  chunk_t chunk;
  uint64_t left;            /* bytes still to come of the body or of its present chunk */
  uint64_t due_us;          /* 0: not waiting */
  int delay_ms, interval_ms, next_event;
  bool get, stream, usage, close_after, wants_write;
} connection;

static int poller;
static text_t listing, whole, stream_head, events[EVENTS], usage_event, stream_end;
static connection **waiting, **idle;
static size_t n_waiting, waiting_size, n_idle, idle_size;

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void append(connection ***list, size_t *n, size_t *size, connection *c) {
  if (*n == *size && !(*list = realloc(*list, (*size = *size ? 2 * *size : 256) * sizeof **list))) abort();
  (*list)[(*n)++] = c;
}

static void wait_ms(connection *c, int ms) {
  c->due_us = now_us() + 1000 * (uint64_t)ms;
  append(&waiting, &n_waiting, &waiting_size, c);
}

static void stop_waiting(connection *c) {
  for (size_t i = 0; c->due_us && i < n_waiting; i++)
    if (waiting[i] == c) waiting[i] = waiting[--n_waiting], c->due_us = 0;
}

static void hang_up(connection *c) {
  stop_waiting(c);
  close(c->fd);
  c->fd = -1;
  append(&idle, &n_idle, &idle_size, c);
}

static void expect_request(connection *c) {
  c->stage = HEAD;
  c->head_length = c->first_length = c->last_length = 0;
  c->left = 0;
  c->delay_ms = c->interval_ms = c->next_event = 0;
  c->get = c->stream = c->usage = false;
}

static void watch_writes(connection *c, bool wanted) {
  if (c->wants_write == wanted) return;
  struct epoll_event e = {EPOLLIN | (wanted ? EPOLLOUT : 0), {.ptr = c}};
  epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
  c->wants_write = wanted;
}

static void flush(connection *c) {
  while (c->out_sent < c->out_length) {
    ssize_t n = write(c->fd, c->out + c->out_sent, c->out_length - c->out_sent);
    if (n < 0 && errno == EAGAIN) { watch_writes(c, true); return; }
    if (n < 0) { hang_up(c); return; }
    c->out_sent += n;
  }
  c->out_length = c->out_sent = 0;
  watch_writes(c, false);
}

static void say(connection *c, const char *bytes, size_t n) {
  if (c->fd < 0 || c->out_length + n > OUT_MAX) return;
  memcpy(c->out + c->out_length, bytes, n);
  c->out_length += n;
  flush(c);
}

static void answered(connection *c) {
  if (c->fd < 0) return;
  if (c->close_after) hang_up(c); else expect_request(c);
}

static void answer(connection *c) {
  if (c->get || !c->stream) {
    text_t *t = c->get ? &listing : &whole;
    say(c, t->bytes, t->length);
    answered(c);
    return;
  }
  if (c->next_event == 0) say(c, stream_head.bytes, stream_head.length);
  while (c->fd >= 0 && c->next_event < EVENTS) {
    text_t *t = &events[c->next_event++];
    say(c, t->bytes, t->length);
    if (c->fd >= 0 && c->interval_ms && c->next_event < EVENTS) { wait_ms(c, c->interval_ms); return; }
  }
  if (c->usage) say(c, usage_event.bytes, usage_event.length);
  say(c, stream_end.bytes, stream_end.length);
  answered(c);
}

/* Where the text after `name` begins in the kept parts of the body, or NULL. */
static const char *after(connection *c, const char *name) {
  size_t n = strlen(name);
  char *p = memmem(c->first, c->first_length, name, n);
  if (!p) p = memmem(c->last, c->last_length, name, n);
  return p ? p + n : NULL;
}

static bool is_true(const char *p) {
  while (p && (*p == ' ' || *p == ':')) p++;
  return p && !strncmp(p, "true", 4);
}

static void request_complete(connection *c) {
  c->stage = ANSWERING;
  c->stream = is_true(after(c, "\"stream\""));
  c->usage = is_true(after(c, "\"include_usage\""));
  const char *timing = after(c, "\"mock-d");
  if (timing) c->delay_ms = (int)strtol(timing, (char **)&timing, 10);
  if (timing && !strncmp(timing, "-i", 2)) c->interval_ms = atoi(timing + 2);
  if (c->delay_ms) wait_ms(c, c->delay_ms); else answer(c);
}

static void keep(connection *c, const char *p, size_t n) {
  size_t room = KEPT - 1 - c->first_length, k = n < room ? n : room;
  memcpy(c->first + c->first_length, p, k);
  c->first[c->first_length += k] = 0;
  if (k == n) return;
  if (n > KEPT - 1) p += n - (KEPT - 1), n = KEPT - 1;
  size_t over = c->last_length + n > KEPT - 1 ? c->last_length + n - (KEPT - 1) : 0;
  memmove(c->last, c->last + over, c->last_length - over);
  memcpy(c->last + c->last_length - over, p, n);
  c->last[c->last_length += n - over] = 0;
}

static size_t take_head(connection *c, const char *p, size_t n) {
  size_t room = HEAD_MAX - 1 - c->head_length, k = n < room ? n : room, before = c->head_length;
  memcpy(c->head + before, p, k);
  c->head[c->head_length += k] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (!end) {
    if (c->head_length == HEAD_MAX - 1) hang_up(c);
    return k;
  }
  end[2] = 0;
  c->get = !strncmp(c->head, "GET ", 4);
  c->close_after = strcasestr(c->head, "\r\nconnection: close") != NULL;
  if (strcasestr(c->head, "\r\nexpect: 100-continue")) say(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
  char *sized = strcasestr(c->head, "\r\ncontent-length:");
  if (strcasestr(c->head, "\r\ntransfer-encoding:")) c->stage = CHUNKED_BODY, c->chunk = SIZE_LINE;
  else if (sized && (c->left = strtoull(sized + 17, NULL, 10))) c->stage = SIZED_BODY;
  else request_complete(c);
  return (size_t)(end + 4 - c->head) - before;
}

static size_t take_data(connection *c, const char *p, size_t n) {
  size_t k = n < c->left ? n : c->left;
  keep(c, p, k);
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
  if (ch == '\n' && c->chunk == LAST_LINE) request_complete(c);
  else if (ch == '\n') c->chunk = c->chunk == DATA_END ? SIZE_LINE : c->left ? DATA : LAST_LINE;
  else if (c->chunk == SIZE_LINE && ch >= '0' && ch <= '9') c->left = c->left * 16 + ch - '0';
  else if (c->chunk == SIZE_LINE && (ch | 32) >= 'a' && (ch | 32) <= 'f') c->left = c->left * 16 + (ch | 32) - 'a' + 10;
  return 1;
}

static void take(connection *c, const char *p, size_t n) {
  while (n && c->fd >= 0 && c->stage != ANSWERING) {   /* no pipelining */
    size_t used;
    if (c->stage == HEAD) used = take_head(c, p, n);
    else if (c->stage == CHUNKED_BODY) used = take_chunked(c, p, n);
    else {
      used = take_data(c, p, n);
      if (!c->left) request_complete(c);
    }
    p += used;
    n -= used;
  }
}

static void build(void) {
  char content[700] = "", body[1000];
  while (strlen(content) < 560) strcat(content, "The quick brown fox jumps over the lazy dog and keeps running. ");
  int n = snprintf(body, sizeof body,
    "{\"id\":\"chatcmpl-mock000000000001\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"mock\",\"choices\":[{"
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%.560s\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":120,\"total_tokens\":140}}", content);
  static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
  whole.length = snprintf(whole.bytes, sizeof whole.bytes, "%s %d\r\n\r\n%s", ok, n, body);
  static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1,\"owned_by\":\"mock\"}]}";
  listing.length = snprintf(listing.bytes, sizeof listing.bytes, "%s %zu\r\n\r\n%s", ok, sizeof models - 1, models);
  stream_head.length = snprintf(stream_head.bytes, sizeof stream_head.bytes,
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
  stream_end.length = snprintf(stream_end.bytes, sizeof stream_end.bytes, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
  for (int i = 0; i <= EVENTS; i++) {
    text_t *t = i == EVENTS ? &usage_event : &events[i];
    n = snprintf(body, sizeof body,
      "data: {\"id\":\"chatcmpl-mock000000000001\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock\",%s}\n\n",
      i == EVENTS     ? "\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":48,\"total_tokens\":68}"
      : i == EVENTS - 1 ? "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]"
      : i == 0        ? "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]"
                      : "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]");
    t->length = snprintf(t->bytes, sizeof t->bytes, "%x\r\n%s\r\n", n, body);
  }
}

static void accept_all(int listener) {
  for (int fd, one = 1; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection *c = n_idle ? idle[--n_idle] : calloc(1, sizeof *c);
    if (!c) abort();
    c->fd = fd;
    c->out_length = c->out_sent = 0;
    c->wants_write = false;
    expect_request(c);
    struct epoll_event e = {EPOLLIN, {.ptr = c}};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
  }
}

/* Answers what is due; the time to the next that is not, in `left`, or false when nothing waits. */
static bool answer_due(struct timespec *left) {
  uint64_t now = now_us(), next = UINT64_MAX;
  for (size_t i = 0; i < n_waiting;) {
    connection *c = waiting[i];
    if (c->due_us > now) { next = c->due_us < next ? c->due_us : next; i++; continue; }
    waiting[i] = waiting[--n_waiting];
    c->due_us = 0;
    answer(c);  /* may append to the list, after i */
  }
  if (!n_waiting) return false;
  for (size_t i = 0; i < n_waiting; i++) next = waiting[i]->due_us < next ? waiting[i]->due_us : next;
  uint64_t us = next > (now = now_us()) ? next - now : 0;
  *left = (struct timespec){us / 1000000, us % 1000000 * 1000};
  return true;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  build();
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 9000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) { perror("listen"); return 1; }
  poller = epoll_create1(0);
  struct epoll_event e = {EPOLLIN, {.ptr = NULL}}, ready[256];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
  static char buffer[1 << 18];
  for (;;) {
    struct timespec left;
    int n = epoll_pwait2(poller, ready, 256, answer_due(&left) ? &left : NULL, NULL);
    for (int i = 0; i < n; i++) {
      connection *c = ready[i].data.ptr;
      if (!c) { accept_all(listener); continue; }
      if (c->fd >= 0 && ready[i].events & EPOLLOUT) flush(c);
      if (c->fd < 0 || !(ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
      ssize_t got = read(c->fd, buffer, sizeof buffer);
      if (got > 0) take(c, buffer, got);
      else if (got == 0 || errno != EAGAIN) hang_up(c);
    }
  }
}
