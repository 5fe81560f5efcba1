/** Table with aligned columns and a header line. Control characters become `?`. */
export const table = (header: readonly string[], rows: readonly (readonly string[])[]): string => {
  const lines = [header, ...rows].map((row) => row.map(printable));
  const widths = header.map((_, column) => Math.max(...lines.map((row) => (row[column] ?? '').length)));
  return lines
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
};

/** Replaces control characters, which a terminal would interpret, by `?`. */
export const printable = (cell: string): string => cell.replaceAll(/\p{C}/gu, '?');

/** `2026-11-22T20:11:05.123Z` → `2026-11-22 20:11:05`; `–` for an absent instant. */
export const instant = (iso: string | null | undefined): string => (iso ? iso.slice(0, 19).replace('T', ' ') : '–');
