// Commands, one a line: a name and options (`run window=16 seconds=3`). The answer to each is a line of JSON.
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "load.h"

enum { PENDING = 200, LINE_SIZE = 4096, BACKGROUND_CONNECTIONS = 16, MAX_HTTP = 64 };
static const uint64_t SECOND = 1000000000ull, MILLISECOND = 1000000ull;
static const uint64_t CONNECT_LIMIT = 120 * SECOND, REPLY_LIMIT = 60 * SECOND;
static const double DRAIN_SECONDS = 15;

Settings settings = { .groups = 1, .members = 1, .per_member = 1, .path = "/", .prefix = "g", .header = "X-None: 1" };
Counts counts;
Connection *members;
int ready;
uint64_t *sequences;
uint32_t *group_sizes;
bool is_reconnecting, is_patient;
Latencies measured = NOTHING;

static Connection *publishers;
static Connection http[MAX_HTTP];
static int opened, http_opened, next_group;

static struct {
  double rate;
  uint64_t next;
} background;

static double option(const char *line, const char *name, double fallback) {
  char text[40];
  snprintf(text, sizeof text, " %s=", name);
  const char *found = strstr(line, text);
  return found == NULL ? fallback : atof(found + strlen(text));
}

static void answer(const char *more) {
  printf("{\"published\":%llu,\"missing\":%lld,\"disordered\":%llu,\"unknown\":%llu,\"errors\":%llu,\"closed\":%llu,"
         "\"unrecovered\":%llu,\"recovered\":%llu,\"retries\":%llu%s}\n",
         (unsigned long long)counts.published, (long long)(counts.expected - counts.delivered),
         (unsigned long long)counts.disordered, (unsigned long long)counts.unknown, (unsigned long long)counts.errors,
         (unsigned long long)counts.closed, (unsigned long long)counts.unrecovered,
         (unsigned long long)counts.recovered, (unsigned long long)counts.retries, more);
  fflush(stdout);
}

static double seconds_since(uint64_t start) { return (double)(now() - start) / (double)SECOND; }

static int next_of(int group) { return group + 1 == settings.groups ? 0 : group + 1; }

static void open_http(int count) {
  int port = settings.publish_port != 0 ? settings.publish_port : settings.port;
  for (; http_opened < count; http_opened++) {
    http[http_opened] = (Connection){ .fd = -1, .role = HTTP, .index = http_opened };
    open_connection(&http[http_opened], port);
    for (uint64_t start = now(); http[http_opened].stage != READY; step(10))
      if (now() - start > CONNECT_LIMIT) die("the publisher is not connected");
  }
}

// One turn of the loop, with the publications of the background that are due.
static void turn(int timeout_ms) {
  uint64_t at = now();
  for (int index = 0; background.rate > 0 && index < BACKGROUND_CONNECTIONS; index++) {
    Connection *one = &http[index];
    if (one->retry_at != 0 && at >= one->retry_at) {
      if (one->stage == READY) resend(one);
      else open_connection(one, one->port);
    } else if (one->stage == READY && one->sent_at == 0 && background.next <= at) {
      request_publish(one, next_group);
      next_group = next_of(next_group);
      background.next += (uint64_t)(1e9 / background.rate);
    }
  }
  step(timeout_ms);
}

static void wait_for(uint64_t duration) {
  uint64_t end = now() + duration;
  while (now() < end) turn(1);
}

static bool is_waiting_for_answers(void) {
  for (int index = 0; index < http_opened; index++)
    if (http[index].sent_at != 0) return true;
  return false;
}

// Waits for the deliveries that are missing, `drain` seconds at most. A repetition that is still on its way arrives before the answer.
static void drain(const char *line) {
  uint64_t limit = now() + (uint64_t)(option(line, "drain", DRAIN_SECONDS) * 1e9);
  while ((counts.delivered < counts.expected || is_waiting_for_answers()) && now() < limit) turn(1);
}

static void connect_all(Connection *list, int *count, int wanted, int port) {
  uint64_t start = now();
  int before = ready, first = *count;
  while (ready - before < wanted - first) {
    while (*count < wanted && *count - first - (ready - before) < PENDING) open_connection(&list[(*count)++], port);
    step(10);
    if (now() - start > CONNECT_LIMIT) die("%d of %d connections are ready", ready - before, wanted - first);
  }
}

static void on_connect(const char *line) {
  char more[60];
  uint64_t start = now();
  connect_all(members, &opened, (int)option(line, "members", settings.members), settings.port);
  snprintf(more, sizeof more, ",\"seconds\":%.4f", seconds_since(start));
  answer(more);
}

// Publishers at another replica.
static void on_publishers(void) {
  int count = 0;
  publishers = calloc((size_t)settings.groups, sizeof *publishers);
  for (int index = 0; index < settings.groups; index++) {
    publishers[index] = (Connection){ .fd = -1, .role = PUBLISHER, .index = index };
    publishers[index].subscriptions = calloc(1, sizeof(Subscription));
    publishers[index].subscriptions[0].group = index;
  }
  connect_all(publishers, &count, settings.groups, settings.publish_port);
  answer("");
}

// Closes all members, which have no positions any more.
static void on_drop(void) {
  for (int index = 0; index < opened; index++) {
    close_connection(&members[index]);
    for (int at = 0; at < settings.per_member; at++) members[index].subscriptions[at].joined = false;
  }
  memset(group_sizes, 0, (size_t)settings.groups * sizeof *group_sizes);
  opened = 0;
  answer("");
}

static void publish_due(double rate, int window, uint64_t *next) {
  uint64_t fan = (uint64_t)settings.members * (uint64_t)settings.per_member / (uint64_t)settings.groups;
  bool is_due = true;
  while (is_due) {
    is_due = rate > 0 ? *next <= now() : counts.expected + fan <= counts.delivered + (uint64_t)window * fan;
    if (!is_due) break;
    publish(publishers != NULL ? &publishers[next_group] : &members[next_group], next_group);
    next_group = next_of(next_group);
    if (rate > 0) *next += (uint64_t)(1e9 / rate);
  }
}

// Publishes for some seconds: `window` publications in flight, at a `rate` per second, or over `http` connections with
// one request under way on each, a group for each. `pause`: microseconds between two reads, where reads of single
// deliveries would make the load a bottleneck.
static void on_run(const char *line) {
  int window = (int)option(line, "window", 0), connections = (int)option(line, "http", 0);
  int pause = (int)option(line, "pause", 0);
  double rate = option(line, "rate", 0);
  char more[300];
  Counts before = counts;
  if (connections > MAX_HTTP || connections > settings.groups) die("too many HTTP connections: %d", connections);
  open_http(connections);
  clear_latencies();
  measured = connections > 0 ? ANSWERS : DELIVERIES;
  uint64_t start = now(), end = start + (uint64_t)(option(line, "seconds", 1) * 1e9), next = start;
  set_timer(end);
  while (now() < end) {
    for (int index = 0; index < connections; index++)
      if (http[index].sent_at == 0) request_publish(&http[index], index);
    if (connections == 0) publish_due(rate, window, &next);
    if (rate > 0) set_timer(next < end ? next : end);
    step(pause > 0 ? 0 : 100);
    if (pause > 0) usleep((useconds_t)pause);
  }
  drain(line);
  double seconds = seconds_since(start);
  measured = NOTHING;
  wait_for(50 * MILLISECOND);
  snprintf(more, sizeof more, ",\"seconds\":%.4f,\"publications\":%llu,\"deliveries\":%llu,\"p50\":%.4f,\"p99\":%.4f",
           seconds, (unsigned long long)(counts.published - before.published),
           (unsigned long long)(counts.delivered - before.delivered), latency(0.5), latency(0.99));
  answer(more);
}

// Publishes over HTTP until the rate is 0, to all groups in turn; then waits for what is missing.
static void on_background(const char *line) {
  background.rate = option(line, "rate", 0);
  background.next = now();
  if (background.rate > 0) {
    is_patient = true;
    open_http(BACKGROUND_CONNECTIONS);
  } else drain(line);
  answer("");
}

static void on_wait(const char *line) {
  wait_for((uint64_t)(option(line, "seconds", 1) * 1e9));
  answer("");
}

// Cuts the connection of every member, or kills the server.
static void on_cut(const char *line) {
  pid_t pid = (pid_t)option(line, "kill", 0);
  if (pid > 0 && kill(pid, SIGKILL) != 0) die("could not kill %d", pid);
  for (int index = 0; index < opened; index++) close_connection(&members[index]);
  answer("");
}

// All members connect at once, with their positions, and again where they are refused.
static void on_reconnect(const char *line) {
  int port = (int)option(line, "port", settings.port), started = 0;
  double half = 0, most = 0, all = 0;
  char more[200];
  uint64_t start = now();
  is_reconnecting = true;
  while (all == 0) {
    uint64_t at = now();
    for (int burst = 0; started < opened && burst < 64; burst++) open_connection(&members[started++], port);
    for (int index = 0; index < started; index++)
      if (members[index].retry_at != 0 && at >= members[index].retry_at) open_connection(&members[index], port);
    turn(started < opened ? 0 : 1);
    double elapsed = seconds_since(start) * 1e3;
    if (half == 0 && ready * 2 >= opened) half = elapsed;
    if (most == 0 && ready >= opened * 0.99) most = elapsed;
    if (ready == opened) all = elapsed;
    if (at - start > CONNECT_LIMIT) die("%d of %d are back", ready, opened);
  }
  is_reconnecting = false;
  snprintf(more, sizeof more, ",\"half\":%.1f,\"most\":%.1f,\"all\":%.1f", half, most, all);
  answer(more);
}

// Every member subscribes to, or unsubscribes from, `groups` groups of its own, `batch` commands in a frame.
static void on_subscriptions(const char *command, const char *line) {
  static char text[1 << 15];
  static uint64_t id = 1u << 30;
  int groups = (int)option(line, "groups", 100), batch = (int)option(line, "batch", 10);
  char more[60];
  uint64_t start = now(), wanted = counts.replies + (uint64_t)(opened * groups);
  for (int from = 0; from < groups; from += batch) {
    for (int index = 0; index < opened; index++) {
      int length = 0;
      for (int group = from; group < from + batch && group < groups; group++)
        length += sprintf(text + length, "%s{\"id\":%llu,\"%s\":{\"channel\":\"%sown%d\"}}", length > 0 ? "\n" : "",
                          (unsigned long long)++id, command, settings.prefix, index * groups + group);
      send_text(&members[index], text, (size_t)length);
      if (index % 16 == 15) step(0);
    }
  }
  while (counts.replies < wanted && now() - start < REPLY_LIMIT) step(10);
  if (counts.replies < wanted) counts.errors++;
  snprintf(more, sizeof more, ",\"seconds\":%.4f", seconds_since(start));
  answer(more);
}

static void obey(const char *line) {
  char name[20] = "";
  sscanf(line, "%19s", name);
  if (strcmp(name, "connect") == 0) on_connect(line);
  else if (strcmp(name, "publishers") == 0) on_publishers();
  else if (strcmp(name, "drop") == 0) on_drop();
  else if (strcmp(name, "run") == 0) on_run(line);
  else if (strcmp(name, "background") == 0) on_background(line);
  else if (strcmp(name, "wait") == 0) on_wait(line);
  else if (strcmp(name, "cut") == 0) on_cut(line);
  else if (strcmp(name, "reconnect") == 0) on_reconnect(line);
  else if (strcmp(name, "subscribe") == 0 || strcmp(name, "unsubscribe") == 0) on_subscriptions(name, line);
  else die("unknown command: %s", line);
}

static void read_tokens(const char *path) {
  FILE *file = fopen(path, "r");
  char *line = NULL;
  size_t capacity = 0;
  if (file == NULL) die("could not open %s", path);
  for (ssize_t length; (length = getline(&line, &capacity, file)) > 0;) {
    if (line[length - 1] == '\n') line[length - 1] = 0;
    settings.tokens = realloc(settings.tokens, (size_t)(settings.token_count + 1) * sizeof *settings.tokens);
    settings.tokens[settings.token_count++] = strdup(line);
  }
  free(line);
  fclose(file);
}

static Dialect dialect_of(const char *name) {
  if (strcmp(name, "centrifugo") == 0) return CENTRIFUGO;
  return strcmp(name, "socket.io") == 0 ? SOCKET_IO : PLAIN;
}

static void read_arguments(int argc, char **argv) {
  static const struct option options[] = {
    { "port", 1, 0, 'p' }, { "publish-port", 1, 0, 'q' }, { "members", 1, 0, 'm' }, { "groups", 1, 0, 'g' },
    { "per-member", 1, 0, 'k' }, { "dialect", 1, 0, 'd' }, { "path", 1, 0, 'P' }, { "prefix", 1, 0, 'x' },
    { "header", 1, 0, 'h' }, { "tokens", 1, 0, 't' }, { 0, 0, 0, 0 },
  };
  for (int name; (name = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (name == 'p') settings.port = atoi(optarg);
    else if (name == 'q') settings.publish_port = atoi(optarg);
    else if (name == 'm') settings.members = atoi(optarg);
    else if (name == 'g') settings.groups = atoi(optarg);
    else if (name == 'k') settings.per_member = atoi(optarg);
    else if (name == 'P') settings.path = optarg;
    else if (name == 'x') settings.prefix = optarg;
    else if (name == 'h') settings.header = optarg;
    else if (name == 't') read_tokens(optarg);
    else if (name == 'd') settings.dialect = dialect_of(optarg);
    else exit(2);
  }
}

int main(int argc, char **argv) {
  char line[LINE_SIZE];
  read_arguments(argc, argv);
  start_epoll();
  members = calloc((size_t)settings.members, sizeof *members);
  sequences = calloc((size_t)settings.groups, sizeof *sequences);
  group_sizes = calloc((size_t)settings.groups, sizeof *group_sizes);
  for (int index = 0; index < settings.members; index++) {
    Subscription *subscriptions = calloc((size_t)settings.per_member, sizeof *subscriptions);
    for (int at = 0; at < settings.per_member; at++)
      subscriptions[at].group = (int)(((long)index * settings.per_member + at) % settings.groups);
    members[index] = (Connection){ .fd = -1, .role = MEMBER, .index = index, .subscriptions = subscriptions };
  }
  // One command is sent at a time, after the answer to the last. The end of the input ends this process.
  for (size_t size = 0;;) {
    if (!input_ready()) {
      step(-1);
      continue;
    }
    ssize_t got = read(STDIN_FILENO, line + size, sizeof line - 1 - size);
    if (got <= 0) return 0;
    size += (size_t)got;
    line[size] = 0;
    if (line[size - 1] != '\n') continue;
    line[size - 1] = 0;
    size = 0;
    obey(line);
  }
}
