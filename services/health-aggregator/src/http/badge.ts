import type { ServiceStatus } from '../core/status.ts';

const COLOURS: Readonly<Record<ServiceStatus, string>> = {
  operational: '#17714a',
  degraded: '#8f5a00',
  partial_outage: '#a14a12',
  major_outage: '#b3261e',
  unknown: '#6f6b64',
};
const CHAR_WIDTH = 6.6;
const PADDING = 12;

/** A small SVG with a name and a status, for READMEs and wikis. The name must consist of [a-z0-9-]. */
export const badge = (name: string, status: ServiceStatus): string => {
  const word = status.replace('_', ' ');
  const left = Math.round(name.length * CHAR_WIDTH + PADDING);
  const right = Math.round(word.length * CHAR_WIDTH + PADDING);
  const text = (x: number, content: string) =>
    `<text x="${x}" y="14" text-anchor="middle" textLength="${Math.round(content.length * CHAR_WIDTH)}">${content}</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + right}" height="20" role="img" aria-label="${name}: ${word}"><title>${name}: ${word}</title><clipPath id="r"><rect width="${left + right}" height="20" rx="4"/></clipPath><g clip-path="url(#r)"><path fill="#44413b" d="M0 0h${left}v20H0z"/><path fill="${COLOURS[status]}" d="M${left} 0h${right}v20H${left}z"/></g><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">${text(left / 2, name)}${text(left + right / 2, word)}</g></svg>`;
};
