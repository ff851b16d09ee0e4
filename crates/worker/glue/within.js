// Waits for something, so long and no longer.
export async function within(promise, millis, late) {
  let timer;
  const over = new Promise((resolve) => {
    timer = setTimeout(resolve, millis, late);
  });
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}
