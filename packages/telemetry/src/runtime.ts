/** What the library tells of the process and of Node; these names are its own. Only those that we read somewhere. */
export const RUNTIME: Readonly<Record<string, readonly string[]>> = {
  process_cpu_seconds_total: [],
  process_resident_memory_bytes: [],
  process_open_fds: [],
  process_start_time_seconds: [],
  nodejs_eventloop_lag_p99_seconds: [],
  nodejs_heap_size_total_bytes: [],
  nodejs_heap_size_used_bytes: [],
  nodejs_gc_duration_seconds: ['kind'],
};
