// Waits for something, so long and no longer. Not with `Promise.race`, which costs more, and each request waits thrice.
export function within(promise, millis, late) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, millis, late);
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
