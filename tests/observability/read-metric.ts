/** Sum of all series of a metric at an ops port, or the value of one series when `name` has labels. */
export const readMetric = async (opsUrl: string, name: string): Promise<number> => {
  const text = await (await fetch(`${opsUrl}/metrics`)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(name.endsWith('}') ? name : `${name}{`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
};
