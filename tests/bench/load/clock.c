// Clock, latencies and faults.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load.h"

// Buckets of a 32nd of a power of two: 3 % wide.
enum { STEPS = 32, BUCKETS = 64 * STEPS };
static uint64_t histogram[BUCKETS], recorded;

uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

void record(uint64_t value) {
  int bucket = (int)value;
  if (value >= STEPS) {
    int power = 63 - __builtin_clzll(value);
    bucket = (power - 4) * STEPS + (int)((value >> (power - 5)) & (STEPS - 1));
  }
  histogram[bucket]++;
  recorded++;
}

void clear_latencies(void) {
  memset(histogram, 0, sizeof histogram);
  recorded = 0;
}

static double middle_of(int bucket) {
  if (bucket < STEPS) return bucket;
  int shift = bucket / STEPS - 1;
  return ((double)(STEPS + bucket % STEPS) + 0.5) * (double)(1ull << shift);
}

// Milliseconds that a share of the latencies does not exceed.
double latency(double share) {
  uint64_t wanted = (uint64_t)(share * (double)recorded), count = 0;
  for (int bucket = 0; bucket < BUCKETS; bucket++) {
    count += histogram[bucket];
    if (count > wanted) return middle_of(bucket) / 1e6;
  }
  return 0;
}

// Counts a fault; the first of its kind is reported in full.
void report(uint64_t *count, const char *what, const char *text, size_t size) {
  if (++*count == 1) fprintf(stderr, "load: %s: %.*s\n", what, (int)(size < EXCERPT ? size : EXCERPT), text);
}

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "load: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, " (%s)\n", strerror(errno));
  va_end(arguments);
  exit(1);
}
