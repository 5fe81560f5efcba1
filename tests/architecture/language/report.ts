import { describeUse, findingsIn } from './findings.ts';

// `npm run language -- services/ws-gateway packages/kit`: banned words in these paths.
const found = findingsIn(process.argv.length > 2 ? process.argv.slice(2) : ['']);
for (const finding of found) process.stdout.write(`${describeUse(finding)}\n`);
process.stdout.write(`${found.length} findings\n`);
process.exitCode = found.length === 0 ? 0 : 1;
