import type { Tone } from './labels.ts';

const SHAPES: Readonly<Record<Tone, string>> = {
  ok: 'M4.500 8.300l2.300 2.300 4.700-5',
  warning: 'M8 4.400v4.300M8 11.300v.2',
  major: 'M6.200 6.200a1.900 1.900 0 1 1 2.600 1.800c-.6.3-.8.7-.8 1.300M8 11.600v.1',
  critical: 'M5.400 5.400l5.200 5.200M10.600 5.400l-5.200 5.200',
  draining: 'M4.800 8h6.200M8.600 5.500L11.200 8l-2.600 2.500',
  starting: 'M8 5v3l2 1.500',
  unknown: 'M5.500 8h5',
};
const FRAMES: Readonly<Record<Tone, string>> = {
  ok: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z',
  warning: 'M8 .8l7.200 13.400H.8z',
  major: 'M8 .6L15.400 8 8 15.400.6 8z',
  critical:
    'M3 1.500h10A1.500 1.500 0 0 1 14.500 3v10a1.500 1.500 0 0 1-1.500 1.500H3A1.500 1.500 0 0 1 1.500 13V3A1.500 1.500 0 0 1 3 1.500z',
  draining: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z',
  starting: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z',
  unknown: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1z',
};

/** Icon of a tone; its shape is distinct without colour. Always shown beside a label. */
export const Glyph = ({ tone }: { tone: Tone }) => (
  <svg class={`glyph tone-${tone}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
    <path class="glyph-frame" d={FRAMES[tone]} />
    <path class="glyph-mark" d={SHAPES[tone]} />
  </svg>
);

/** Logo of Muster: a list with two ticked entries. */
export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" width="30" height="30" aria-hidden="true">
    <rect width="32" height="32" rx="9" class="logo-background" />
    <path class="logo-tick" d="M7 11l2.200 2.200L13 9M7 20l2.200 2.200L13 18" />
    <path class="logo-line" d="M17.500 11.500H25M17.500 20.500H25" />
  </svg>
);
