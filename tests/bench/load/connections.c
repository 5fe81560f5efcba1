// Connections: WebSocket clients of three dialects, and HTTP clients that publish.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "load.h"

enum { READ_SIZE = 1 << 20, FRAME_SIZE = 1 << 16, EVENTS = 4096 };
enum { OP_TEXT = 1, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
static const uint64_t RETRY_NS = 100000000ull, RETRY_SPREAD_MS = 300;

static int epoll, timer;
static bool has_input;
static char buffer[READ_SIZE];
static const char INPUT_TAG = 0, TIMER_TAG = 0;

static void watch(int operation, int fd, uint32_t events, const void *tag) {
  struct epoll_event event = { .events = events, .data.ptr = (void *)tag };
  epoll_ctl(epoll, operation, fd, &event);
}

void start_epoll(void) {
  epoll = epoll_create1(0);
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  watch(EPOLL_CTL_ADD, timer, EPOLLIN, &TIMER_TAG);
  watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &INPUT_TAG);
}

// Ends the wait of `step` at a time of the clock; a timeout of epoll is only exact to the millisecond.
void set_timer(uint64_t at) {
  struct timespec time = { .tv_sec = (time_t)(at / 1000000000ull), .tv_nsec = (long)(at % 1000000000ull) };
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &(struct itimerspec){ .it_value = time }, NULL);
}

bool input_ready(void) {
  bool was = has_input;
  has_input = false;
  return was;
}

void send_bytes(Connection *connection, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t sent = send(connection->fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      usleep(50);
      continue;
    }
    if (sent < 0) return; // The close is noticed when the connection is read.
    bytes += sent;
    size -= (size_t)sent;
  }
}

// A masked frame (RFC 6455 section 5.2). A mask of zeros is a mask.
static void send_frame(Connection *connection, int op, const char *payload, size_t size) {
  static char frame[FRAME_SIZE];
  size_t head = 0;
  if (size > FRAME_SIZE - 8) die("a frame of %zu bytes", size);
  frame[head++] = (char)(0x80 | op);
  if (size < 126) frame[head++] = (char)(0x80 | size);
  else {
    frame[head++] = (char)(0x80 | 126);
    frame[head++] = (char)(size >> 8);
    frame[head++] = (char)size;
  }
  memset(frame + head, 0, 4);
  memcpy(frame + head + 4, payload, size);
  send_bytes(connection, frame, head + 4 + size);
}

void send_text(Connection *connection, const char *text, size_t size) { send_frame(connection, OP_TEXT, text, size); }

void close_connection(Connection *connection) {
  if (connection->fd >= 0) {
    struct linger reset = { .l_onoff = 1 };
    setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(connection->fd);
  }
  if (connection->stage == READY && connection->role != HTTP) ready--;
  connection->fd = -1;
  connection->stage = CLOSED;
  connection->rest_size = 0;
}

// A refused connection: an error, but while all reconnect, or where a publisher may publish again.
void refuse(Connection *connection, const char *text, size_t size) {
  bool may_retry = connection->role == HTTP ? is_patient : is_reconnecting;
  if (!may_retry) die("refused: %.*s", (int)(size < EXCERPT ? size : EXCERPT), text);
  close_connection(connection);
  counts.retries++;
  connection->retry_at = now() + RETRY_NS + (uint64_t)rand() % RETRY_SPREAD_MS * 1000000ull;
}

void open_connection(Connection *connection, int port) {
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
  struct sockaddr_in from = { .sin_family = AF_INET };
  int yes = 1;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // Three addresses: one has too few ports for the connections that were reset and those that replace them.
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)connection->index % 3);
  connection->port = port;
  connection->retry_at = 0;
  connection->rest_size = 0;
  connection->stage = CONNECTING;
  connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (connection->fd < 0) die("no socket");
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
  bind(connection->fd, (void *)&from, sizeof from);
  if (connect(connection->fd, (void *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
    refuse(connection, "connect", 7);
    return;
  }
  watch(EPOLL_CTL_ADD, connection->fd, EPOLLOUT, connection);
}

static void on_connected(Connection *connection) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    refuse(connection, strerror(error), strlen(strerror(error)));
    return;
  }
  watch(EPOLL_CTL_MOD, connection->fd, EPOLLIN, connection);
  if (connection->role == HTTP) {
    connection->stage = READY;
    if (connection->sent_at != 0) resend(connection);
    return;
  }
  char path[256], request[512];
  int group = connection->subscriptions[0].group;
  if (settings.dialect == PLAIN) snprintf(path, sizeof path, "%s%s%d", settings.path, settings.prefix, group);
  else snprintf(path, sizeof path, "%s", settings.path);
  int length = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path);
  connection->stage = UPGRADING;
  send_bytes(connection, request, (size_t)length);
}

static size_t on_frames(Connection *connection, const char *bytes, size_t size, uint64_t at) {
  size_t used = 0;
  while (size - used >= 2 && connection->fd >= 0) {
    const unsigned char *frame = (const unsigned char *)bytes + used;
    uint64_t length = frame[1] & 127;
    size_t head = length == 126 ? 4 : length == 127 ? 10 : 2;
    if (size - used < head) break;
    if (head > 2) length = 0;
    for (size_t byte = 2; byte < head; byte++) length = length << 8 | frame[byte];
    if (size - used < head + length) break;
    if ((frame[0] & 15) == OP_TEXT) on_text(connection, bytes + used + head, length, at);
    else if ((frame[0] & 15) == OP_PING) send_frame(connection, OP_PONG, bytes + used + head, length);
    used += head + length;
  }
  return used;
}

static void on_response(Connection *connection, bool is_ok, const char *response, size_t size, uint64_t at) {
  if (is_ok) counts.replies++;
  else if (is_patient) {
    counts.retries++;
    connection->retry_at = at + RETRY_NS;
    return;
  } else report(&counts.errors, "response", response, size);
  if (measured == ANSWERS) record(at - connection->sent_at);
  connection->sent_at = 0;
}

// One response: with Content-Length, or a body that ends with its only chunk.
static size_t on_http(Connection *connection, const char *bytes, size_t size, uint64_t at) {
  const char *end = find(bytes, size, "\r\n\r\n");
  if (end == NULL) return 0;
  size_t head = (size_t)(end - bytes) + 4, length = 0;
  const char *field = strcasestr(bytes, "\r\ncontent-length:");
  if (field != NULL && field < end) length = strtoul(field + 17, NULL, 10);
  else {
    const char *last = find(bytes + head, size - head, "0\r\n\r\n");
    if (last == NULL) return 0;
    length = (size_t)(last - bytes) + 5 - head;
  }
  if (size < head + length) return 0;
  bool is_ok = memcmp(bytes, "HTTP/1.1 20", 11) == 0 && find(bytes + head, length, "\"error\"") == NULL;
  on_response(connection, is_ok, bytes, head + length, at);
  return head + length;
}

static size_t on_upgraded(Connection *connection, const char *bytes, size_t size) {
  const char *end = find(bytes, size, "\r\n\r\n");
  if (end == NULL) return 0;
  if (memcmp(bytes, "HTTP/1.1 101", 12) != 0) refuse(connection, bytes, size);
  else if (settings.dialect == SOCKET_IO) connection->stage = OPENING;
  else join(connection);
  return (size_t)(end - bytes) + 4;
}

static void on_closed(Connection *connection) {
  if (connection->role == HTTP ? is_patient : is_reconnecting) {
    refuse(connection, "", 0);
    return;
  }
  counts.closed++;
  close_connection(connection);
}

static void on_readable(Connection *connection) {
  size_t size = connection->rest_size, used = 0;
  memcpy(buffer, connection->rest, size);
  ssize_t got = recv(connection->fd, buffer + size, READ_SIZE - 1 - size, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    on_closed(connection);
    return;
  }
  uint64_t at = now();
  size += (size_t)got;
  buffer[size] = 0;
  if (connection->role == HTTP) used = on_http(connection, buffer, size, at);
  else {
    if (connection->stage == UPGRADING) used = on_upgraded(connection, buffer, size);
    if (connection->stage > UPGRADING) used += on_frames(connection, buffer + used, size - used, at);
  }
  size_t left = size - used;
  if (connection->fd < 0) return;
  if (left > connection->rest_capacity) {
    connection->rest_capacity = left < 512 ? 512 : left;
    connection->rest = realloc(connection->rest, connection->rest_capacity);
  }
  if (left > 0) memcpy(connection->rest, buffer + used, left);
  connection->rest_size = left;
}

void step(int timeout_ms) {
  static struct epoll_event events[EVENTS];
  int count = epoll_wait(epoll, events, EVENTS, timeout_ms);
  for (int at = 0; at < count; at++) {
    const void *tag = events[at].data.ptr;
    Connection *connection = events[at].data.ptr;
    if (tag == &INPUT_TAG) has_input = true;
    else if (tag == &TIMER_TAG) {
      uint64_t expirations;
      if (read(timer, &expirations, sizeof expirations) < 0) continue;
    } else if (connection->fd < 0) continue;
    else if (connection->stage == CONNECTING) on_connected(connection);
    else on_readable(connection);
  }
}
