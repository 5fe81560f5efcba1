// The load generator of the benchmarks: members, publishers and the clock in one thread and one epoll loop, so that
// it takes a fraction of what the servers under measurement take.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EPOCH_SIZE = 32, EXCERPT = 300 };

// Protocol of the server: that of Centrifugo in JSON, which is Muster's; that of Socket.IO; or one text frame for each
// publication, with the group in the query.
typedef enum { CENTRIFUGO, SOCKET_IO, PLAIN } Dialect;

// A publisher publishes over its own WebSocket and is not a member; members publish to their first group.
typedef enum { MEMBER, PUBLISHER, HTTP } Role;
typedef enum { CLOSED, CONNECTING, UPGRADING, OPENING, JOINING, READY } Stage;

// Latencies that are recorded.
typedef enum { NOTHING, DELIVERIES, ANSWERS } Latencies;

// A group of a member, and its position in the stream.
typedef struct {
  int group;
  bool joined;
  uint64_t sequence; // Of the newest publication received.
  uint64_t offset;
  char epoch[EPOCH_SIZE];
} Subscription;

typedef struct {
  int fd, index, port;
  Role role;
  Stage stage;
  int awaited;         // Replies to subscribes that are outstanding.
  uint64_t retry_at;   // Of a connection that was refused while all reconnect; 0 for none.
  int group;           // HTTP: of the request under way.
  uint64_t sequence, sent_at;
  char *rest;          // Bytes of a frame or a response that has not arrived completely.
  size_t rest_size, rest_capacity;
  Subscription *subscriptions;
} Connection;

typedef struct {
  int port, groups, members, per_member, publish_port;
  Dialect dialect;
  const char *path, *prefix, *header;
  char **tokens;
  int token_count;
} Settings;

// Since the start. With anything missing, disordered, unknown or unrecovered, with an error or a close, a benchmark has
// no result.
typedef struct {
  uint64_t published, expected, delivered, replies, recovered, retries;
  uint64_t disordered, unknown, errors, closed, unrecovered;
} Counts;

extern Settings settings;
extern Counts counts;
extern Connection *members;
extern int ready;                       // Members and publishers that are in all their groups.
extern uint64_t *sequences;             // Newest sequence of each group.
extern uint32_t *group_sizes;           // Members of each group.
extern bool is_reconnecting;            // Refused members try again.
extern bool is_patient;                 // Refused publications are sent again.
extern Latencies measured;

// connections.c
void start_epoll(void);
void step(int timeout_ms);
bool input_ready(void);
void set_timer(uint64_t at);
void open_connection(Connection *connection, int port);
void close_connection(Connection *connection);
void refuse(Connection *connection, const char *text, size_t size);
void send_bytes(Connection *connection, const char *bytes, size_t size);
void send_text(Connection *connection, const char *text, size_t size);

// dialects.c
const char *find(const char *text, size_t size, const char *part);
void join(Connection *connection);
void on_text(Connection *connection, const char *text, size_t size, uint64_t at);
void publish(Connection *publisher, int group);
void request_publish(Connection *connection, int group);
void resend(Connection *connection);

// clock.c
uint64_t now(void);
void record(uint64_t nanoseconds);
void clear_latencies(void);
double latency(double share);
void report(uint64_t *count, const char *what, const char *text, size_t size);
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
