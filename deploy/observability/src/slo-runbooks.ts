import { LEAST_EVENTS, OBJECTIVES, PAGE_BURN_RATES, TICKETS } from './objectives.ts';

const percent = (ratio: number): string => `${Number((ratio * 100).toFixed(3))} %`;

const windows = (burns: typeof PAGE_BURN_RATES): string =>
  burns.map(({ long, short, factor }) => `${factor} × over ${long} and ${short}`).join(', or ');

/** The runbooks of the objectives: one section for each alert, one for each objective. */
export const renderRunbooks = (): string => `# Runbooks of the objectives

Written by \`npm run generate\` from deploy/observability. Do not edit.

An objective promises a share of good events over 30 days; the rest is its **error budget**. A **burn rate** of 1 uses up the
budget in exactly 30 days. The alerts below carry the label \`slo\`; what each of them is about is told at the end.

| \`slo\` | objective | budget |
| --- | --- | --- |
${OBJECTIVES.map(({ name, title, target }) => `| [\`${name}\`](#${name}) | ${title}: ${percent(target)} | ${percent(1 - target)} |`).join('\n')}

## SloBudgetBurnsFast
The budget burns ${windows(PAGE_BURN_RATES)}. Act now: find what fails with the section of the objective. The short window ends the alert
soon after the cause is gone.

## SloBudgetBurnsSlowly
The budget burns ${windows(TICKETS)}. Nobody has to be woken, but it will not last the month. Find what fails steadily.

## SloFewButFailing
With fewer than ${LEAST_EVENTS} events in a window a rate says nothing, and the alerts above stay silent. This one counts: more
than twenty failures in six hours while little happens.

## SloUnmeasured
The series of the objective are not there. No process that exposes them is scraped, or the fleet has no traffic of this kind
since the last start: that is normal for a new fleet, and ends with the first client. See FleetTargetDown in
[the other runbooks](runbooks.md).

${OBJECTIVES.map(({ name, means, look }) => `## ${name}\n${means}\n\n${look}`).join('\n\n')}
`;
