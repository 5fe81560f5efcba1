// The protocols of the servers: how a connection joins its groups, publishes, and takes publications.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum { COMMANDS_SIZE = 1 << 15 };
// A payload of 100 bytes: "@", the time in 19 digits, ".", the sequence of its group in 10.
enum { PAYLOAD_SIZE = 100, TIME_DIGITS = 19, SEQUENCE_DIGITS = 10, MARK_SIZE = TIME_DIGITS + SEQUENCE_DIGITS + 2 };

const char *find(const char *text, size_t size, const char *part) { return memmem(text, size, part, strlen(part)); }

static uint64_t digits(const char *text, int count) {
  uint64_t value = 0;
  while (count-- > 0) value = value * 10 + (uint64_t)(*text++ - '0');
  return value;
}

// Connect and subscribes in one frame, as SDKs send them; with positions after the first time.
void join(Connection *connection) {
  static char text[COMMANDS_SIZE];
  int length = 0;
  connection->stage = JOINING;
  if (settings.dialect == PLAIN) length = sprintf(text, "hello");
  else if (settings.dialect == SOCKET_IO)
    length = sprintf(text, "42[\"join\",\"%s%d\"]", settings.prefix, connection->subscriptions[0].group);
  else {
    const char *token = settings.token_count > 0 ? settings.tokens[connection->index % settings.token_count] : "";
    length = sprintf(text, "{\"id\":1,\"connect\":{\"token\":\"%s\"}}", token);
    connection->awaited = connection->role == MEMBER ? settings.per_member : 0;
    for (int at = 0; at < connection->awaited; at++) {
      Subscription *one = &connection->subscriptions[at];
      length += sprintf(text + length, "\n{\"id\":%d,\"subscribe\":{\"channel\":\"%s%d\"", at + 2, settings.prefix,
                        one->group);
      if (one->joined)
        length += sprintf(text + length, ",\"recover\":true,\"epoch\":\"%s\",\"offset\":%llu", one->epoch,
                          (unsigned long long)one->offset);
      length += sprintf(text + length, "}}");
    }
  }
  send_text(connection, text, (size_t)length);
}

static void become_ready(Connection *connection) {
  connection->stage = READY;
  ready++;
  for (int at = 0; connection->role == MEMBER && at < settings.per_member; at++) {
    Subscription *one = &connection->subscriptions[at];
    if (one->joined) continue;
    one->joined = true;
    one->sequence = sequences[one->group];
    group_sizes[one->group]++;
  }
}

// Takes the publications of a text. Sequences have neither gaps nor repetitions.
static int deliver(Subscription *subscription, const char *text, size_t size, uint64_t at) {
  const char *end = text + size;
  int found = 0;
  while ((text = memchr(text, '@', (size_t)(end - text))) != NULL && end - text >= MARK_SIZE) {
    uint64_t sent_at = digits(text + 1, TIME_DIGITS), sequence = digits(text + 2 + TIME_DIGITS, SEQUENCE_DIGITS);
    text += MARK_SIZE;
    found++;
    if (sequence != subscription->sequence + 1) counts.disordered++;
    if (sequence > subscription->sequence) {
      subscription->sequence = sequence;
      counts.delivered++;
    }
    if (measured == DELIVERIES) record(at > sent_at ? at - sent_at : 0);
  }
  return found;
}

static uint64_t largest_offset(const char *text, size_t size) {
  const char *end = text + size;
  uint64_t largest = 0;
  while ((text = find(text, (size_t)(end - text), "\"offset\":")) != NULL) {
    uint64_t offset = strtoull(text += 9, NULL, 10);
    if (offset > largest) largest = offset;
  }
  return largest;
}

static void on_subscribed(Connection *connection, const char *line, size_t size, uint64_t at) {
  int index = atoi(line + strlen("{\"id\":")) - 2;
  if (index < 0 || index >= settings.per_member) die("an unexpected reply: %.*s", EXCERPT, line);
  Subscription *one = &connection->subscriptions[index];
  if (one->joined) {
    if (find(line, size, "\"recovered\":true") == NULL) counts.unrecovered++;
    counts.recovered += (uint64_t)deliver(one, line, size, at);
  }
  const char *epoch = find(line, size, "\"epoch\":\"");
  uint64_t offset = largest_offset(line, size);
  if (epoch != NULL) snprintf(one->epoch, sizeof one->epoch, "%.*s", (int)strcspn(epoch + 9, "\""), epoch + 9);
  if (offset > one->offset) one->offset = offset;
  if (--connection->awaited == 0) become_ready(connection);
}

// The subscription of a push; a member of one group needs no look-up.
static Subscription *subscription_of(Connection *connection, const char *line, size_t size) {
  if (settings.per_member == 1) return &connection->subscriptions[0];
  const char *channel = find(line, size, "\"channel\":\"");
  int group = channel == NULL ? -1 : atoi(channel + 11 + strlen(settings.prefix));
  for (int at = 0; at < settings.per_member; at++)
    if (connection->subscriptions[at].group == group) return &connection->subscriptions[at];
  return NULL;
}

static void on_line(Connection *connection, const char *line, size_t size, uint64_t at) {
  if (size == 2) { // A ping.
    send_text(connection, "{}", 2);
    return;
  }
  if (memcmp(line, "{\"id\":", 6) == 0) {
    bool is_error = find(line, size, "\"error\":{") != NULL;
    if (connection->stage != JOINING) {
      if (is_error) report(&counts.errors, "error", line, size);
      else counts.replies++;
    } else if (is_error) refuse(connection, line, size);
    else if (find(line, size, "\"subscribe\":{") != NULL) on_subscribed(connection, line, size, at);
    else if (connection->awaited == 0) become_ready(connection);
    return;
  }
  Subscription *one = connection->role == MEMBER ? subscription_of(connection, line, size) : NULL;
  if (one != NULL && deliver(one, line, size, at) > 0) {
    if (settings.per_member > 1) one->offset = largest_offset(line, size);
    return;
  }
  if (find(line, size, "\"disconnect\":{") != NULL && is_reconnecting) refuse(connection, line, size);
  else report(&counts.unknown, "unknown", line, size);
}

static void on_socket_io(Connection *connection, const char *text, size_t size, uint64_t at) {
  bool is_namespace = size >= 2 && memcmp(text, "40", 2) == 0;
  if (size == 1 && *text == '2') send_text(connection, "3", 1);
  else if (connection->stage == OPENING && *text == '0') send_text(connection, "40", 2);
  else if (connection->stage == OPENING && is_namespace && connection->role == MEMBER) join(connection);
  else if (connection->stage == OPENING && is_namespace) become_ready(connection);
  else if (connection->stage == JOINING) become_ready(connection);
  else if (deliver(&connection->subscriptions[0], text, size, at) == 0) counts.unknown++;
}

void on_text(Connection *connection, const char *text, size_t size, uint64_t at) {
  if (settings.dialect == SOCKET_IO) on_socket_io(connection, text, size, at);
  else if (settings.dialect == PLAIN && connection->stage == JOINING) become_ready(connection);
  else if (settings.dialect == PLAIN && connection->role == MEMBER)
    deliver(&connection->subscriptions[0], text, size, at);
  else if (settings.dialect == CENTRIFUGO) {
    const char *end = text + size;
    while (text < end && connection->fd >= 0) {
      const char *next = memchr(text, '\n', (size_t)(end - text));
      if (next == NULL) next = end;
      if (next > text) on_line(connection, text, (size_t)(next - text), at);
      text = next + 1;
    }
  }
}

static void write_payload(char *text, uint64_t sequence) {
  int length = sprintf(text, "{\"t\":\"@%019llu.%010llu\",\"p\":\"", (unsigned long long)now(),
                       (unsigned long long)sequence);
  memset(text + length, 'x', (size_t)(PAYLOAD_SIZE - 2 - length));
  memcpy(text + PAYLOAD_SIZE - 2, "\"}", 3);
}

static uint64_t next_sequence(int group) {
  counts.published++;
  counts.expected += group_sizes[group];
  return ++sequences[group];
}

// Publishes over a WebSocket.
void publish(Connection *publisher, int group) {
  static uint64_t id = 1000;
  char data[PAYLOAD_SIZE + 1], text[512];
  int length;
  write_payload(data, next_sequence(group));
  if (settings.dialect == CENTRIFUGO)
    length = sprintf(text, "{\"id\":%llu,\"publish\":{\"channel\":\"%s%d\",\"data\":%s}}", (unsigned long long)++id,
                     settings.prefix, group, data);
  else if (settings.dialect == SOCKET_IO)
    length = sprintf(text, "42[\"publish\",\"%s%d\",%s]", settings.prefix, group, data);
  else length = sprintf(text, "%s", data);
  send_text(publisher, text, (size_t)length);
}

// Publishes over HTTP; one request is under way on a connection.
void request_publish(Connection *connection, int group) {
  connection->group = group;
  connection->sequence = next_sequence(group);
  connection->sent_at = now();
  resend(connection);
}

// A publication that is sent twice counts once: it has an idempotency key.
void resend(Connection *connection) {
  char data[PAYLOAD_SIZE + 1], body[512], request[1024], key[80] = "";
  connection->retry_at = 0;
  write_payload(data, connection->sequence);
  if (is_patient)
    sprintf(key, ",\"idempotency_key\":\"%s%d-%llu\"", settings.prefix, connection->group,
            (unsigned long long)connection->sequence);
  int length = sprintf(body, "{\"channel\":\"%s%d\",\"data\":%s%s}", settings.prefix, connection->group, data, key);
  int size = snprintf(request, sizeof request,
                      "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\nContent-Type: application/json\r\n"
                      "Content-Length: %d\r\n\r\n%s", settings.header, length, body);
  send_bytes(connection, request, (size_t)size);
}
