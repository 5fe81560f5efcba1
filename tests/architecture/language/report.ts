import { commentFindings, describeUse, findingsIn } from './findings.ts';

// `npm run language -- services/ws-gateway packages/kit`: banned words of these paths; with `--comments` those of comments.
const args = process.argv.slice(2);
const paths = args.filter((arg) => arg !== '--comments');
const read = args.includes('--comments') ? commentFindings : findingsIn;
const found = read(paths.length > 0 ? paths : ['']);
for (const finding of found) process.stdout.write(`${describeUse(finding)}\n`);
process.stdout.write(`${found.length} findings\n`);
process.exitCode = found.length === 0 ? 0 : 1;
