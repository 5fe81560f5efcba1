import { MIN_EVENTS, OBJECTIVES, PAGE_BURN_RATES, TICKET_BURN_RATES } from './objectives.ts';

const percent = (ratio: number): string => `${Number((ratio * 100).toFixed(3))} %`;

const windows = (burns: typeof PAGE_BURN_RATES): string =>
  burns.map(({ long, short, factor }) => `${factor} × over ${long} and ${short}`).join(', or ');

/** Runbooks of the objectives in Markdown: a section per alert and per objective. */
export const renderRunbooks = (): string => `# Runbooks of the objectives

Written by \`npm run generate\` from deploy/observability. Do not edit.

An objective promises a share of good events over 30 days; the rest is its **error budget**. A **burn rate** of 1 uses up the
budget in exactly 30 days. The alerts below carry the label \`slo\`; the section of each objective is below.

| \`slo\` | objective | budget |
| --- | --- | --- |
${OBJECTIVES.map(({ name, title, target }) => `| [\`${name}\`](#${name}) | ${title}: ${percent(target)} | ${percent(1 - target)} |`).join('\n')}

## SloBudgetBurnsFast

The budget burns ${windows(PAGE_BURN_RATES)}. Act now: find the failing component with the section of the objective. The alert
resolves soon after the cause is removed.

## SloBudgetBurnsSlowly

The budget burns ${windows(TICKET_BURN_RATES)}. Not urgent, but the budget does not last the month. Find the steady source of errors.

## SloFewButFailing

With fewer than ${MIN_EVENTS} events in a window the alerts above do not fire. This alert counts failures: more than twenty in
six hours at low traffic.

## SloUnmeasured

The series of the objective are missing. No process that exposes them is scraped, or the fleet has had no traffic of this kind
since the last start. That is normal for a new fleet, until the first client. See FleetTargetDown in
[the other runbooks](runbooks.md).

${OBJECTIVES.map(({ name, means, look }) => `## ${name}\n\n${means}\n\n${look}`).join('\n\n')}
`;
