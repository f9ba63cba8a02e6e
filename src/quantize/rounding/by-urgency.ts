/**
 * Starts jobs as places become free, the most urgent first: `const give = byUrgency(2)`, `give(urgency, job)`. At most `places` run
 * at once. A job that fails fails its own promise only.
 */
export function byUrgency(places: number): <T>(urgency: number, job: () => Promise<T>) => Promise<T> {
  const waiting: { urgency: number; start: () => Promise<void> }[] = [];
  let running = 0;

  function next(): void {
    while (running < places && waiting.length > 0) {
      const first = waiting.reduce((most, one, i) => (one.urgency > waiting[most]!.urgency ? i : most), 0);
      running++;
      void waiting
        .splice(first, 1)[0]!
        .start()
        .finally(() => {
          running--;
          next();
        });
    }
  }

  return (urgency, job) =>
    new Promise((resolve, reject) => {
      waiting.push({ urgency, start: () => job().then(resolve, reject) });
      next();
    });
}
