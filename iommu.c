/*
 * iommu.c: the IOMMU (Intel VT-d): which memory a device can reach, and which interrupts it can raise.
 *
 * A device that starts DMA sends its own bus, device and function number along. The unit looks that number up in a
 * root table (by bus) and a context table (by device and function), finds the tables of the device's domain there,
 * and translates the address like a page walk of the processor: what the domain does not map is refused and recorded.
 *
 * Invariants: no device is a bus master before its domain is in place, or after it is gone; a device without a domain
 * has no context entry and reaches nothing. All tables lie in frames of the supervisor, which no shard can reach.
 * Whatever is taken out of a table is invalidated, and DMA that was under way has ended, before the function that does so
 * returns: the invalidation is the revocation. A domain keeps its tables until it is detached.
 *
 * Read next: edu.c, a device that uses it. Sections are those of the VT-d specification, revision 3.1.
 */
#include "acpi.h"
#include "kernel.h"
#include "pci.h"

/* Registers (10.4). */
#define REG_VERSION 0x00       /* 10.4.1 */
#define REG_CAP 0x08           /* 10.4.2 */
#define REG_ECAP 0x10          /* 10.4.3 */
#define REG_COMMAND 0x18       /* 10.4.4, GCMD */
#define REG_STATUS 0x1C        /* 10.4.5, GSTS */
#define REG_ROOT 0x20          /* 10.4.6, RTADDR */
#define REG_FAULT_STATUS 0x34  /* 10.4.9, FSTS */
#define REG_FAULT_CONTROL 0x38 /* 10.4.10, FECTL: 0 lets the interrupt through */
#define REG_FAULT_DATA 0x3C    /* 10.4.11, FEDATA */
#define REG_FAULT_ADDRESS 0x40 /* 10.4.12, FEADDR, and the upper half behind it */
#define REG_QUEUE_TAIL 0x88    /* 10.4.22, IQT */
#define REG_QUEUE 0x90         /* 10.4.23, IQA */
#define REG_INTERRUPTS 0xB8    /* 10.4.29, IRTA */

/* Commands, and the same bits of the status once they are carried out (10.4.4, 10.4.5). */
#define DO_TRANSLATE (1u << 31)
#define DO_SET_ROOT (1u << 30)
#define DO_QUEUE (1u << 26)
#define DO_REMAP_INTERRUPTS (1u << 25)
#define DO_SET_INTERRUPTS (1u << 24)
#define STATUS_LASTING 0x96FFFFFF /* all but the bits of commands that act once */

/* Capabilities (10.4.2) and extended capabilities (10.4.3). */
#define CAP_WRITE_BUFFERS (1UL << 4) /* RWBF: writes to tables have to be flushed by command */
#define CAP_CACHES_ABSENT (1UL << 7) /* CM: what is not mapped may be cached too */
#define CAP_3_LEVELS (1UL << 9)      /* SAGAW: 39-bit device addresses */
#define CAP_4_LEVELS (1UL << 10)     /* SAGAW: 48-bit */
#define CAP_PAGE_SELECTIVE (1UL << 39)
#define CAP_DRAIN (3UL << 54) /* DWD, DRD: an invalidation can wait for DMA that is under way */
#define CAP_ADDRESS_BITS(cap) (((cap) >> 16 & 0x3F) + 1)
#define CAP_FAULT_OFFSET(cap) (((cap) >> 24 & 0x3FF) * 16)
#define CAP_FAULT_RECORDS(cap) (((cap) >> 40 & 0xFF) + 1)
#define ECAP_COHERENT (1UL << 0) /* C: the unit sees the processor's caches */
#define ECAP_QUEUE (1UL << 1)
#define ECAP_INTERRUPTS (1UL << 3)

/* Root and context entries of 16 bytes (9.1, 9.3), entries of second-level tables (9.8). */
#define ENTRY_PRESENT 1UL
#define CONTEXT_DOMAIN_SHIFT 8
#define SECOND_READ 1UL
#define SECOND_WRITE 2UL

/* Descriptors of the invalidation queue (6.5.2). */
#define INVALIDATE_CONTEXT 1UL
#define INVALIDATE_IOTLB 2UL
#define INVALIDATE_INTERRUPTS 4UL /* all of them */
#define INVALIDATE_DEVICE (3UL << 4)
#define INVALIDATE_DOMAIN (2UL << 4)
#define INVALIDATE_PAGE (3UL << 4)
#define INVALIDATE_DRAIN (3UL << 6) /* DR, DW */
#define QUEUE_WAIT 5UL
#define QUEUE_WAIT_WRITES (1UL << 5) /* SW: writes the upper half of the descriptor to an address */
#define QUEUE_ENTRIES 256            /* one page */

/* Fault status (10.4.9) and records of 16 bytes (10.4.14). */
#define FAULT_OVERFLOW 1u /* PFO: a fault found no free record; writing 1 clears it */
#define FAULT_PENDING 2u  /* PPF */
#define RECORD_VALID (1UL << 63)
#define RECORD_READ (1UL << 62)
#define RECORD_CLEAR (1u << 31) /* in the last 4 bytes */
#define FAULT_INTERRUPT 0x20    /* reasons from here on are about interrupts (appendix A) */

/* Interrupt remapping: entries (9.10), the table's size (10.4.29), messages that name an entry (5.1.5.2). */
#define REMAP_TABLE_256 7           /* 2 to the power of 7 + 1 entries: one page */
#define REMAP_CHECK_SOURCE (1UL << 18) /* SVT: in the upper half, beside the source it compares */
#define MESSAGE_ADDRESS 0xFEE00000UL
#define MESSAGE_END 0xFEF00000UL
#define MESSAGE_REMAPPABLE (1u << 4)
#define MESSAGE_INDEX_SHIFT 5

#define DOMAINS 16
#define PATIENCE 1000000    /* looks at a register before the unit counts as broken */
#define PAGES_SELECTIVE 16  /* more than that are invalidated with their whole domain */
#define FAULT_LINES 8       /* on the console in FAULT_PERIOD_MS */
#define FAULT_PERIOD_MS 1000

struct domain {
	const struct pci_device *device; /* NULL: the slot is free */
	uint64_t root;                   /* its topmost table */
	int owner;                       /* slot of the shard it works for, -1: nobody's */
	bool faulted;                    /* since iommu_faulted asked last */
};

static struct acpi_drhd unit;
static volatile uint8_t *registers;
static uint64_t cap, ecap;
static int levels; /* of second-level tables */
static bool translating, remapping;
static struct domain domains[DOMAINS];
static uint64_t *root_table, *queue, *interrupt_table; /* a page each */
static uint32_t queue_tail;
static volatile uint32_t queue_done; /* the unit writes 1 here */
static uint32_t fault_count, fault_overflows;

static uint32_t read32(uint32_t offset)
{
	return *(volatile uint32_t *)(registers + offset);
}

static uint64_t read64(uint32_t offset)
{
	return *(volatile uint64_t *)(registers + offset);
}

static void write32(uint32_t offset, uint32_t value)
{
	*(volatile uint32_t *)(registers + offset) = value;
}

static void write64(uint32_t offset, uint64_t value)
{
	*(volatile uint64_t *)(registers + offset) = value;
}

/* ---- Tables in memory ---- */

/* Makes what was written to `bytes` bytes at `at` visible to a unit that does not see the processor's caches. */
static void publish(const void *at, size_t bytes)
{
	if (!(ecap & ECAP_COHERENT))
		cache_flush(at, bytes);
}

static void set_entry(uint64_t *entry, uint64_t value)
{
	*(volatile uint64_t *)entry = value;
	publish(entry, sizeof(*entry));
}

/* Returns a new table of zeros that the unit sees, or NULL. */
static uint64_t *new_table(uint64_t *phys)
{
	if (frame_alloc(NULL, phys))
		return NULL;
	publish(phys_to_virt(*phys), PAGE_SIZE);
	return phys_to_virt(*phys);
}

/* Returns the last-level entry for a device address, or NULL: there is none and `create` is false, or no memory. */
static uint64_t *second_level(uint64_t root, uint64_t iova, bool create)
{
	uint64_t *table = phys_to_virt(root);

	for (int level = levels - 1; level > 0; level--) {
		uint64_t *entry = &table[iova >> (12 + 9 * level) & 511], phys;
		if (!*entry) {
			if (!create || !new_table(&phys))
				return NULL;
			set_entry(entry, phys | SECOND_READ | SECOND_WRITE);
		}
		table = phys_to_virt(*entry & PTE_ADDRESS);
	}
	return &table[iova >> 12 & 511];
}

/* Frees a table and all below it. */
static void free_tables(uint64_t phys, int level)
{
	uint64_t *table = phys_to_virt(phys);

	for (uint32_t i = 0; level > 0 && i < 512; i++)
		if (table[i])
			free_tables(table[i] & PTE_ADDRESS, level - 1);
	frame_free(NULL, phys);
}

/* Returns whether a domain can map these device addresses: translated ones, so not those that are interrupts. */
static bool iova_range(uint64_t iova, uint64_t pages)
{
	uint64_t bits = 12 + 9 * (uint64_t)levels, limit;

	limit = 1UL << (bits < CAP_ADDRESS_BITS(cap) ? bits : CAP_ADDRESS_BITS(cap));
	return !(iova & PAGE_MASK) && iova < limit && pages <= (limit - iova) / PAGE_SIZE &&
	       (iova >= MESSAGE_END || iova + pages * PAGE_SIZE <= MESSAGE_ADDRESS);
}

/* ---- Invalidation ---- */

static void queue_add(uint64_t low, uint64_t high)
{
	queue[2 * queue_tail] = low;
	queue[2 * queue_tail + 1] = high;
	queue_tail = (queue_tail + 1) % QUEUE_ENTRIES;
}

/* Lets the unit carry out what is queued, and waits until it has. */
static void queue_run(void)
{
	queue_done = 0;
	queue_add(QUEUE_WAIT | QUEUE_WAIT_WRITES | 1UL << 32, (uint64_t)&queue_done - IMAGE_BASE);
	write64(REG_QUEUE_TAIL, queue_tail * 16);
	for (uint32_t i = 0; !queue_done; i++)
		if (i == PATIENCE)
			panic("the IOMMU does not carry out invalidations (fault status 0x%x): nothing can be revoked",
			      read32(REG_FAULT_STATUS));
}

static uint16_t source_id(const struct pci_device *device)
{
	return (uint16_t)(device->bus << 8 | device->dev << 3 | device->fn);
}

/* The queue's descriptors for a device's context entry, for one page of a domain, and for all its pages. */
static uint64_t context_descriptor(uint32_t domain, uint16_t source)
{
	return INVALIDATE_CONTEXT | INVALIDATE_DEVICE | (domain + 1UL) << 16 | (uint64_t)source << 32;
}

static uint64_t iotlb_descriptor(uint32_t domain, uint64_t granularity)
{
	return INVALIDATE_IOTLB | granularity | ((cap & CAP_DRAIN) == CAP_DRAIN ? INVALIDATE_DRAIN : 0) | (domain + 1UL) << 16;
}

static void invalidate_domain(uint32_t domain)
{
	queue_add(context_descriptor(domain, source_id(domains[domain].device)), 0);
	queue_add(iotlb_descriptor(domain, INVALIDATE_DOMAIN), 0);
	queue_run();
}

static void invalidate_pages(uint32_t domain, uint64_t iova, uint64_t pages)
{
	if (pages > PAGES_SELECTIVE)
		queue_add(iotlb_descriptor(domain, INVALIDATE_DOMAIN), 0);
	else
		for (uint64_t i = 0; i < pages; i++)
			queue_add(iotlb_descriptor(domain, INVALIDATE_PAGE), iova + i * PAGE_SIZE);
	queue_run();
}

/* ---- Domains ---- */

/* Returns the context entry of a device, its table made if need be; NULL without memory. */
static uint64_t *context_entry(const struct pci_device *device)
{
	uint64_t *root = &root_table[2 * device->bus], phys;

	if (!*root) {
		if (!new_table(&phys))
			return NULL;
		set_entry(root, phys | ENTRY_PRESENT);
	}
	return (uint64_t *)phys_to_virt(*root & PTE_ADDRESS) + 2 * (source_id(device) & 0xFF);
}

/* Returns whether the unit translates the DMA of a device: it says so for all of them, or names each (8.3.1). */
static bool watched(const struct pci_device *device)
{
	struct acpi_scope scope;
	uint32_t len;
	const uint8_t *table = device_dmar(&len);

	if (unit.all)
		return true;
	for (uint32_t i = 0; acpi_scope(table, len, &unit, i, &scope); i++)
		if (scope.type == ACPI_SCOPE_ENDPOINT && scope.hops == 1 && scope.bus == device->bus &&
		    scope.device == device->dev && scope.function == device->fn)
			return true;
	return false;
}

/* Gives a device an empty domain of its own, named by `*domain`, and lets it be a bus master. Returns 0, or
 * -COCONUT_E_NODEV where no IOMMU watches it, -COCONUT_E_FULL, -COCONUT_E_NOMEM. */
int iommu_attach(const struct pci_device *device, uint32_t *domain)
{
	uint64_t *context, root;
	uint32_t slot = 0;

	if (!translating || !watched(device))
		return -COCONUT_E_NODEV;
	while (slot < DOMAINS && domains[slot].device)
		slot++;
	if (slot == DOMAINS)
		return -COCONUT_E_FULL;
	context = context_entry(device);
	if (!context || !new_table(&root))
		return -COCONUT_E_NOMEM;
	ASSERT(!*context);
	domains[slot] = (struct domain){.device = device, .root = root, .owner = -1};
	set_entry(context + 1, (uint64_t)(levels - 2) | (slot + 1UL) << CONTEXT_DOMAIN_SHIFT);
	set_entry(context, root | ENTRY_PRESENT);
	invalidate_domain(slot);
	pci_command(&pci_ports, device, 0, PCI_COMMAND_BUS_MASTER);
	*domain = slot;
	return 0;
}

/* Takes a device its domain and its DMA, and frees the tables. */
void iommu_detach(uint32_t domain)
{
	uint64_t *context = context_entry(domains[domain].device);

	pci_command(&pci_ports, domains[domain].device, PCI_COMMAND_BUS_MASTER, 0);
	set_entry(context, 0);
	set_entry(context + 1, 0);
	invalidate_domain(domain);
	free_tables(domains[domain].root, levels - 1);
	domains[domain].device = NULL;
}

/* Maps `pages` pages at device address `iova`, where nothing is mapped, to `phys`. Returns 0, -COCONUT_E_INVAL for
 * addresses that no domain can map, -COCONUT_E_EXISTS, or -COCONUT_E_NOMEM; then none is mapped. */
int iommu_map(uint32_t domain, uint64_t iova, uint64_t phys, uint64_t pages, bool read, bool write)
{
	uint64_t rights = (read ? SECOND_READ : 0) | (write ? SECOND_WRITE : 0);

	if (!iova_range(iova, pages))
		return -COCONUT_E_INVAL;
	for (uint64_t done = 0; done < pages; done++) {
		uint64_t *entry = second_level(domains[domain].root, iova + done * PAGE_SIZE, true);
		if (!entry || (*entry && !ABLATE(dma_unmap))) {
			iommu_unmap(domain, iova, done);
			return entry ? -COCONUT_E_EXISTS : -COCONUT_E_NOMEM;
		}
		set_entry(entry, (phys + done * PAGE_SIZE) | rights);
	}
	if (cap & CAP_CACHES_ABSENT)
		invalidate_pages(domain, iova, pages);
	return 0;
}

/* Unmaps `pages` pages. When it returns, the device reaches none of them any more. */
void iommu_unmap(uint32_t domain, uint64_t iova, uint64_t pages)
{
	if (ABLATE(dma_unmap))
		return;
	for (uint64_t done = 0; done < pages; done++) {
		uint64_t *entry = second_level(domains[domain].root, iova + done * PAGE_SIZE, false);
		if (entry)
			set_entry(entry, 0);
	}
	if (pages && !ABLATE(dma_invalidate))
		invalidate_pages(domain, iova, pages);
}

/* Notes for which shard (its slot, -1 for none) the domain's device works, for the reports of faults. */
void iommu_set_owner(uint32_t domain, int shard_id)
{
	domains[domain].owner = shard_id;
}

/* ---- Faults ---- */

/* Takes a fault record apart (10.4.14). */
struct iommu_fault iommu_decode_fault(uint64_t low, uint64_t high)
{
	struct iommu_fault fault = {.source = (uint16_t)high, .reason = (uint8_t)(high >> 32), .read = high & RECORD_READ};

	fault.address = fault.reason < FAULT_INTERRUPT ? low & ~PAGE_MASK : low >> 48;
	return fault;
}

/* Says in words why the unit refused (appendix A). */
const char *iommu_fault_reason(uint8_t reason)
{
	static const char *const memory[] = {
		[0x1] = "no device of its bus has a domain", [0x2] = "the device has no domain",
		[0x3] = "its context entry is invalid", [0x4] = "the address is wider than its domain",
		[0x5] = "its domain does not map that page for writing", [0x6] = "its domain does not map that page for reading",
		[0x7] = "a table of its domain cannot be read", [0x8] = "the root table cannot be read",
		[0x9] = "the context table cannot be read", [0xA] = "reserved bits are set in its root entry",
		[0xB] = "reserved bits are set in its context entry", [0xC] = "reserved bits are set in a table of its domain",
		[0xD] = "this kind of request is blocked",
	};
	static const char *const interrupt[] = {
		"reserved bits are set in the request", "its number is beyond the table", "its entry is not present",
		"the table cannot be read", "reserved bits are set in its entry", "it is not in the remappable format",
		"the entry belongs to another device",
	};

	if (reason >= FAULT_INTERRUPT && reason < FAULT_INTERRUPT + ARRAY_LENGTH(interrupt))
		return interrupt[reason - FAULT_INTERRUPT];
	return reason < ARRAY_LENGTH(memory) && memory[reason] ? memory[reason] : "unknown";
}

/* Returns whether one more fault may have its line now: always under verbose, otherwise a flood of faults cannot fill
 * the console. Those that get none are counted, and mentioned once. */
static bool fault_line_allowed(void)
{
	static uint64_t period, lines;
	uint64_t now = timer_ms() / FAULT_PERIOD_MS;

	if (verbose)
		return true;
	if (now != period && lines > FAULT_LINES)
		print("DMA fault: %lu more were not shown\n", lines - FAULT_LINES);
	lines = now == period ? lines + 1 : 1;
	period = now;
	return lines <= FAULT_LINES;
}

/* Counts a fault against the domain that it happened in, and prints it. */
static void report_fault(const struct iommu_fault *fault)
{
	const struct pci_device *device = NULL;
	struct domain *domain = NULL;

	fault_count++;
	for (uint32_t i = 0; (device = device_at(i)) && source_id(device) != fault->source; i++)
		;
	for (uint32_t i = 0; device && i < DOMAINS; i++)
		if (domains[i].device == device)
			domain = &domains[i];
	if (domain)
		domain->faulted = true;
	if (!fault_line_allowed())
		return;
	print("DMA fault: %02x:%02x.%u (%s)", fault->source >> 8, fault->source >> 3 & 31, fault->source & 7,
	      device ? pci_class_name(device) : "unknown device");
	if (domain && domain->owner >= 0)
		print(", working for shard %d (%s),", domain->owner, shards[domain->owner].profile->name);
	print(" may not %s 0x%lx: %s (VT-d reason 0x%x)\n",
	      fault->reason >= FAULT_INTERRUPT ? "raise interrupt" : fault->read ? "read" : "write", fault->address,
	      iommu_fault_reason(fault->reason), fault->reason);
}

/* Takes all fault records. The loss of some makes every domain count as faulted: they may have been anybody's. */
static void collect_faults(void)
{
	while (read32(REG_FAULT_STATUS) & (FAULT_PENDING | FAULT_OVERFLOW)) {
		for (uint32_t i = 0; i < CAP_FAULT_RECORDS(cap); i++) {
			uint32_t record = (uint32_t)CAP_FAULT_OFFSET(cap) + 16 * i;
			uint64_t high = read64(record + 8);
			if (!(high & RECORD_VALID))
				continue;
			struct iommu_fault fault = iommu_decode_fault(read64(record), high);
			write32(record + 12, RECORD_CLEAR);
			report_fault(&fault);
		}
		if (!(read32(REG_FAULT_STATUS) & FAULT_OVERFLOW))
			continue;
		write32(REG_FAULT_STATUS, FAULT_OVERFLOW);
		fault_overflows++;
		for (uint32_t i = 0; i < DOMAINS; i++)
			domains[i].faulted = true;
		if (fault_line_allowed())
			print("DMA fault: more than the IOMMU could record; what else was refused is not known\n");
	}
}

static void fault_interrupt(void *unused)
{
	(void)unused;
	collect_faults();
}

/* Returns whether the domain's device did something forbidden since the last time this was asked. */
bool iommu_faulted(uint32_t domain)
{
	bool faulted;

	collect_faults(); /* the record may be there before its interrupt */
	faulted = domains[domain].faulted;
	domains[domain].faulted = false;
	return faulted;
}

/* Prints what the run has seen, under verbose. */
void iommu_report(void)
{
	if (translating)
		print_verbose("IOMMU: %u DMA faults recorded, records lost %u times\n", fault_count, fault_overflows);
}

/* ---- Interrupt remapping ---- */

/* Lets `device`, and no other, raise `vector`. Returns false where interrupts are not remapped; otherwise `*address` and
 * `*data` are the message that the device is to send. */
bool iommu_route(const struct pci_device *device, uint8_t vector, uint32_t *address, uint32_t *data)
{
	uint64_t *entry = interrupt_table + 2 * vector;

	if (!remapping)
		return false;
	set_entry(entry + 1, REMAP_CHECK_SOURCE | source_id(device));
	set_entry(entry, ENTRY_PRESENT | (uint64_t)vector << 16 | (uint64_t)apic_id() << 40);
	queue_add(INVALIDATE_INTERRUPTS, 0);
	queue_run();
	*address = MESSAGE_ADDRESS | (uint32_t)vector << MESSAGE_INDEX_SHIFT | MESSAGE_REMAPPABLE;
	*data = 0;
	return true;
}

/* ---- Set-up ---- */

/* Returns how many levels the tables of a unit shall have: the most that it supports, 0 when neither 3 nor 4. */
int iommu_levels(uint64_t capabilities)
{
	return capabilities & CAP_4_LEVELS ? 4 : capabilities & CAP_3_LEVELS ? 3 : 0;
}

/* Returns NULL when this file can drive a unit with these capabilities, or what stands in the way. */
const char *iommu_problem(uint64_t capabilities, uint64_t extended)
{
	if (!(extended & ECAP_QUEUE))
		return "it has no invalidation queue";
	if (!iommu_levels(capabilities))
		return "its tables have neither 3 nor 4 levels";
	if (!(capabilities & CAP_PAGE_SELECTIVE))
		return "it cannot invalidate single pages";
	if (capabilities & CAP_WRITE_BUFFERS)
		return "its write buffers need flushing";
	if (CAP_FAULT_OFFSET(capabilities) + 16 * CAP_FAULT_RECORDS(capabilities) > PAGE_SIZE)
		return "its fault records lie outside its first page";
	return NULL;
}

/* Finds the machine's unit and maps its registers. Returns NULL, or what is missing. */
static const char *find_unit(void)
{
	struct acpi_dmar dmar;
	struct acpi_drhd second;
	uint32_t len;
	const uint8_t *table = device_dmar(&len);

	if (!table)
		return "there is no DMAR table";
	if (!acpi_dmar(table, len, &dmar) || !acpi_drhd(table, len, 0, &unit))
		return "the DMAR table is damaged";
	if (acpi_drhd(table, len, 1, &second))
		return "there are several units, and this kernel drives one";
	registers = paging_map_device(unit.base, PAGE_SIZE);
	cap = read64(REG_CAP);
	ecap = read64(REG_ECAP);
	if (!dmar.interrupt_remapping)
		ecap &= ~ECAP_INTERRUPTS;
	levels = iommu_levels(cap);
	return iommu_problem(cap, ecap);
}

/* Gives the unit a command. Returns whether it was carried out. */
static bool command(uint32_t bit)
{
	write32(REG_COMMAND, (read32(REG_STATUS) & STATUS_LASTING) | bit);
	for (uint32_t i = 0; i < PATIENCE; i++)
		if (read32(REG_STATUS) & bit)
			return true;
	return false;
}

/* Has the unit announce faults. Such an interrupt is not remapped, it comes from the unit itself. */
static void announce_faults(void)
{
	int vector = apic_handle(fault_interrupt, NULL);

	ASSERT(vector > 0);
	write32(REG_FAULT_DATA, (uint32_t)vector);
	write64(REG_FAULT_ADDRESS, MESSAGE_ADDRESS | (uint64_t)apic_id() << 12);
	write32(REG_FAULT_CONTROL, 0);
}

/* Turns the unit on with empty tables: from now on every device is refused. Returns whether that worked. */
static bool turn_on(void)
{
	uint64_t root, queue_phys, interrupts;

	write32(REG_COMMAND, 0); /* whatever the firmware did with it */
	for (uint32_t i = 0; read32(REG_STATUS) & (DO_TRANSLATE | DO_QUEUE | DO_REMAP_INTERRUPTS) && i < PATIENCE; i++)
		;
	root_table = new_table(&root);
	queue = new_table(&queue_phys);
	interrupt_table = new_table(&interrupts);
	if (!root_table || !queue || !interrupt_table)
		return false;
	announce_faults();
	write64(REG_QUEUE_TAIL, 0);
	write64(REG_QUEUE, queue_phys);
	write64(REG_ROOT, root);
	if (!command(DO_QUEUE) || !command(DO_SET_ROOT))
		return false;
	queue_add(INVALIDATE_CONTEXT | 1UL << 4, 0); /* all of both: granularity 1 */
	queue_add(INVALIDATE_IOTLB | 1UL << 4, 0);
	queue_add(INVALIDATE_INTERRUPTS, 0);
	queue_run();
	if (ecap & ECAP_INTERRUPTS) {
		write64(REG_INTERRUPTS, interrupts | REMAP_TABLE_256);
		remapping = command(DO_SET_INTERRUPTS) && command(DO_REMAP_INTERRUPTS);
	}
	return ABLATE(dma_translation) || command(DO_TRANSLATE);
}

/* Takes every device its DMA, then turns the IOMMU on, where there is one. */
void iommu_init(void)
{
	const struct pci_device *device;
	const char *problem;

	for (uint32_t i = 0; (device = device_at(i)); i++)
		pci_command(&pci_ports, device, PCI_COMMAND_BUS_MASTER, 0);
	problem = find_unit();
	if (!problem && !turn_on())
		problem = "it does not obey";
	if (problem) {
		print("IOMMU: none that can be used: %s; devices get no DMA\n", problem);
		return;
	}
	translating = true;
	print("IOMMU: VT-d %u.%u, %d-level tables, translation %son\n", read32(REG_VERSION) >> 4 & 15,
	      read32(REG_VERSION) & 15, levels, remapping ? "and interrupt remapping " : "");
	print_verbose("IOMMU: capabilities 0x%lx, 0x%lx, %lu fault records\n", cap, ecap, CAP_FAULT_RECORDS(cap));
}

/* Returns whether domains can be made. */
bool iommu_present(void)
{
	return translating;
}
