/* ok: a shard that is content with the world: it ends at once with 0. */
int main(void) { return 0; }
