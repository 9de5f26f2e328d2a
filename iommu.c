/*
 * iommu.c: the IOMMU (Intel VT-d): which memory a device can reach, and which interrupts it can raise.
 *
 * A device that starts DMA sends its own bus, device and function number along. The unit looks that number up in a
 * root table (by bus) and a context table (by device and function), finds the tables of the device's domain there,
 * and translates the address like a page walk of the processor: what the domain does not map is refused and recorded.
 *
 * Invariants: from the scan of the devices on none is a bus master before its domain is in place; a device without a
 * domain has no context entry and reaches nothing. All tables lie in frames of the supervisor, which no shard can
 * reach. Whatever is taken out of a table is invalidated, and DMA that was under way has ended (a unit that cannot wait
 * for that is not used), before the function that does so returns: the invalidation is the revocation. A domain keeps
 * its tables.
 *
 * Sections are those of the VT-d specification, revision 3.1, whose short names of registers and fields stand beside
 * ours in the comments.
 *
 * Read next: edu.c, a device that uses a domain.
 */
#include "acpi.h"
#include "kernel.h"
#include "pci.h"

/* Registers (10.4.1 to 10.4.6): VER, CAP, ECAP, GCMD, GSTS, RTADDR. */
enum { REG_VERSION = 0x00, REG_CAP = 0x08, REG_ECAP = 0x10, REG_COMMAND = 0x18, REG_STATUS = 0x1C, REG_ROOT = 0x20 };
/* Faults (10.4.9 to 10.4.12): FSTS, FECTL, where 0 lets the interrupt through, FEDATA, FEADDR with its upper half
 * behind. */
enum { REG_FAULT_STATUS = 0x34, REG_FAULT_CONTROL = 0x38, REG_FAULT_DATA = 0x3C, REG_FAULT_ADDRESS = 0x40 };
/* Invalidation queue: IQT, IQA (10.4.22, 10.4.23). Interrupt table: IRTA (10.4.29). */
enum { REG_QUEUE_TAIL = 0x88, REG_QUEUE = 0x90, REG_INTERRUPTS = 0xB8 };

/* Commands, and the same bits of the status once they are carried out (10.4.4, 10.4.5): TE, SRTP, QIE, IRE, SIRTP.
 * STATUS_LASTING leaves out what is never to be written back with a command: the bits of those that act once. */
enum {
	DO_TRANSLATE = 1u << 31, DO_SET_ROOT = 1 << 30, DO_QUEUE = 1 << 26, DO_REMAP_INTERRUPTS = 1 << 25,
	DO_SET_INTERRUPTS = 1 << 24, STATUS_LASTING = 0x96FFFFFF,
};

/* Capabilities (10.4.2): RWBF, writes to tables have to be flushed by command; CM, what is not mapped may be cached
 * too; SAGAW, device addresses of 39 or 48 bits; PSI, single pages can be invalidated; DWD and DRD, an invalidation can
 * wait for DMA that is under way. Numbers in them: MGAW, how many bits a device's address has; FRO and NFR, where the
 * fault records are and how many. */
enum {
	CAP_WRITE_BUFFERS = 1 << 4, CAP_CACHES_ABSENT = 1 << 7, CAP_3_LEVELS = 1 << 9, CAP_4_LEVELS = 1 << 10,
	CAP_PAGE_SELECTIVE = 1UL << 39, CAP_DRAIN = 3UL << 54,
};
#define CAP_ADDRESS_BITS(cap) (((cap) >> 16 & 0x3F) + 1)
#define CAP_FAULT_OFFSET(cap) (((cap) >> 24 & 0x3FF) * 16)
#define CAP_FAULT_RECORDS(cap) (((cap) >> 40 & 0xFF) + 1)

/* Extended capabilities (10.4.3): C, the unit sees the processor's caches; QI, it has a queue; IR, it remaps
 * interrupts. */
enum { ECAP_COHERENT = 1 << 0, ECAP_QUEUE = 1 << 1, ECAP_INTERRUPTS = 1 << 3 };

/* Bits of entries: root and context (9.1, 9.3), second level (9.8), interrupt (9.10: in its upper half). */
enum { ENTRY_PRESENT = 1, CONTEXT_SILENT = 2, SECOND_READ = 1, SECOND_WRITE = 2, INTERRUPT_CHECK_SOURCE = 1 << 18 };

/* Descriptors of the invalidation queue (6.5.2), a page of them, with the domain's number at bit 16. DROP_CONTEXT names
 * a device too, at bit 32. DROP_DRAIN, beside DROP_DOMAIN or DROP_PAGE, waits for DMA. QUEUE_WAIT writes a 1 when all
 * before it is done. */
enum {
	DROP_CONTEXTS = 1 | 1 << 4, DROP_CONTEXT = 1 | 3 << 4, DROP_TRANSLATIONS = 2 | 1 << 4, DROP_DOMAIN = 2 | 2 << 4,
	DROP_PAGE = 2 | 3 << 4, DROP_DRAIN = 3 << 6, DROP_INTERRUPTS = 4, QUEUE_WAIT = 5 | 1 << 5 | 1UL << 32,
	QUEUE_ENTRIES = 256,
};

/* Fault status (10.4.9): PFO, a fault found no free record, until a 1 is written; PPF, there are records. */
enum { FAULT_OVERFLOW = 1, FAULT_PENDING = 2 };
/* Records of 16 bytes (10.4.14): F, T, and F again as it is cleared, in the last 4 bytes. Their reasons are about
 * interrupts from this one on (appendix A). */
enum { RECORD_VALID = 1UL << 63, RECORD_READ = 1UL << 62, RECORD_CLEAR = 1UL << 31, FAULT_INTERRUPT = 0x20 };

/* Writes to these addresses are interrupts (3.14). Bits of such an address: where the number of the processor that is
 * meant begins (SDM Vol. 3A, "Message Address Register Format"); or that it has the number of an interrupt entry, and
 * where (5.1.5.2). */
enum { MESSAGE_ADDRESS = 0xFEE00000, MESSAGE_END = 0xFEF00000, MESSAGE_ID_SHIFT = 12 };
enum { MESSAGE_REMAPPABLE = 1 << 4, MESSAGE_INDEX_SHIFT = 5 };

/* How many domains there can be; how often the unit is looked at before it counts as broken; how many faults of each
 * shard, and of nobody, are put on the console, where not all of them were asked for. */
enum { DOMAINS = 16, PATIENCE = 1000000, FAULT_LINES = 16, NOBODY = MAX_SHARDS };

/* What one device reaches. Its number is the index; the unit's number for it (DID) is one more, since 0 may be
 * reserved. */
struct domain {
	const struct pci_device *device; /* NULL: the slot is free */
	uint64_t root; /* its topmost table */
	int owner;     /* slot of the shard it works for, -1: nobody's */
	bool faulted;  /* since iommu_faulted asked last */
};

/* A fault record, taken apart. */
struct fault {
	uint16_t source;  /* bus << 8 | device << 3 | function */
	uint8_t reason;   /* appendix A */
	bool read;        /* else a write */
	uint64_t address; /* of the page, or the number of the interrupt */
};

static struct acpi_drhd unit;
static volatile uint8_t *registers;
static uint64_t cap, ecap; /* capabilities; interrupt remapping only where the platform supports it too */
static int levels;         /* of second-level tables */
static bool translating, remapping;
static struct domain domains[DOMAINS];
static uint64_t *root_table, *context_table, *queue, *interrupt_table; /* a page each; contexts are those of bus 0 */
static uint32_t queue_tail;
static volatile uint32_t queue_done; /* the unit writes 1 here */
static uint32_t fault_count, overflow_count, fault_lines[MAX_SHARDS + 1];

#define REG32(offset) (*(volatile uint32_t *)(registers + (offset)))
#define REG64(offset) (*(volatile uint64_t *)(registers + (offset)))

/* ---- Tables in memory ---- */

/* Writes 8 bytes of a table so that the unit sees them: a second-level entry, or half of any other. */
static void set_entry(uint64_t *entry, uint64_t value) {
	*(volatile uint64_t *)entry = value;
	if (!(ecap & ECAP_COHERENT)) cache_flush(entry, sizeof(*entry));
}

/* Returns a new table of zeros that the unit sees, or NULL. */
static uint64_t *new_table(uint64_t *phys) {
	if (frame_alloc(NULL, phys)) return NULL;
	cache_flush(phys_to_virt(*phys), PAGE_SIZE);
	return phys_to_virt(*phys);
}

/* Returns the last-level entry for a device address, or NULL: there is none and `create` is false, or no memory. */
static uint64_t *second_level(uint64_t root, uint64_t iova, bool create) {
	uint64_t *table = phys_to_virt(root);

	for (int level = levels - 1; level > 0; level--) {
		uint64_t *entry = &table[iova >> (12 + 9 * level) & 511], phys;
		if (!*entry) {
			if (!create || !new_table(&phys)) return NULL;
			set_entry(entry, phys | SECOND_READ | SECOND_WRITE);
		}
		table = phys_to_virt(*entry & PTE_ADDRESS);
	}
	return &table[iova >> 12 & 511];
}

/* Returns whether a domain can map these device addresses: translated ones, so not those that are interrupts. */
static bool iova_range(uint64_t iova, uint64_t pages) {
	uint64_t limit = 1UL << min(12 + 9 * (uint64_t)levels, CAP_ADDRESS_BITS(cap));

	return !(iova & PAGE_MASK) && iova < limit && pages <= (limit - iova) / PAGE_SIZE &&
	       (iova >= MESSAGE_END || iova + pages * PAGE_SIZE <= MESSAGE_ADDRESS);
}

/* ---- Invalidation ---- */

/* Puts a descriptor into the queue. There is room: the unit is done with all earlier ones. */
static void queue_add(uint64_t low, uint64_t high) {
	queue[2 * queue_tail] = low;
	queue[2 * queue_tail + 1] = high;
	queue_tail = (queue_tail + 1) % QUEUE_ENTRIES;
}

/* Has the unit carry out one descriptor, and waits until it has. */
static void invalidate(uint64_t low, uint64_t high) {
	queue_done = 0;
	queue_add(low, high);
	queue_add(QUEUE_WAIT, (uint64_t)&queue_done - IMAGE_BASE);
	REG64(REG_QUEUE_TAIL) = queue_tail * 16;
	for (uint32_t i = 0; !queue_done; i++)
		if (i == PATIENCE)
			panic("the IOMMU does not carry out invalidations (fault status 0x%x): nothing can be revoked",
			      REG32(REG_FAULT_STATUS));
}

/* Has the unit forget translations of a domain, with DMA that used them at an end. */
static void invalidate_translations(uint64_t kind, uint32_t domain, uint64_t iova) {
	invalidate(kind | DROP_DRAIN | (domain + 1UL) << 16, iova);
}

/* Returns the number that a device sends along. */
static uint16_t source_id(const struct pci_device *d) { return (uint16_t)(d->bus << 8 | d->dev << 3 | d->fn); }

/* Has the unit forget all it knows of a domain, and of its device. */
static void invalidate_domain(uint32_t domain) {
	invalidate(DROP_CONTEXT | (domain + 1UL) << 16 | (uint64_t)source_id(domains[domain].device) << 32, 0);
	invalidate_translations(DROP_DOMAIN, domain, 0);
}

/* ---- Domains ---- */

/* Returns whether the unit translates the DMA of a device, and knows it by its own number. The unit answers for all
 * devices, or lists those that it answers for (8.3.1); behind a bridge the bridge may speak for a device. */
static bool watched(const struct pci_device *device) {
	struct acpi_scope scope;
	uint32_t len;
	const uint8_t *table = device_dmar(&len);
	bool found = unit.all;

	for (uint32_t i = 0; !found && acpi_scope(table, len, &unit, i, &scope); i++)
		found = scope.type == ACPI_SCOPE_ENDPOINT && scope.hops == 1 && scope.bus == device->bus &&
			scope.device == device->dev && scope.function == device->fn;
	return found && device->bus == 0;
}

/* Gives a device an empty domain of its own, named by `*domain`, and lets it be a bus master. Returns 0, or
 * -COCONUT_E_NODEV where no IOMMU watches it, -COCONUT_E_FULL, -COCONUT_E_NOMEM. */
int iommu_attach(const struct pci_device *device, uint32_t *domain) {
	uint64_t *context = context_table + 2 * (source_id(device) & 0xFF), root;
	uint32_t slot = 0;

	if (!translating || !watched(device)) return -COCONUT_E_NODEV;
	while (slot < DOMAINS && domains[slot].device)
		slot++;
	if (slot == DOMAINS) return -COCONUT_E_FULL;
	if (!new_table(&root)) return -COCONUT_E_NOMEM;
	ASSERT(!*context);
	domains[slot] = (struct domain){.device = device, .root = root, .owner = -1};
	set_entry(context + 1, (uint64_t)(levels - 2) | (slot + 1UL) << 8); /* AW, DID (9.3) */
	set_entry(context, root | ENTRY_PRESENT);
	invalidate_domain(slot);
	pci_command(&pci_ports, device, 0, PCI_COMMAND_BUS_MASTER);
	*domain = slot;
	return 0;
}

/* Maps `pages` pages at device address `iova`, where nothing is mapped, to `phys`. Returns 0, -COCONUT_E_INVAL for
 * addresses that no domain can map, -COCONUT_E_EXISTS, or -COCONUT_E_NOMEM; then none is mapped. Without any right
 * only the tables are made, which the domain keeps: mapping there cannot run out of memory any more. */
int iommu_map(uint32_t domain, uint64_t iova, uint64_t phys, uint64_t pages, bool read, bool write) {
	uint64_t rights = (read ? SECOND_READ : 0) | (write ? SECOND_WRITE : 0);

	if (!iova_range(iova, pages)) return -COCONUT_E_INVAL;
	for (uint64_t at = 0; at < pages * PAGE_SIZE; at += PAGE_SIZE) {
		uint64_t *entry = second_level(domains[domain].root, iova + at, true);
		if (!entry || (*entry && !ABLATE(dma_unmap))) {
			iommu_unmap(domain, iova, at / PAGE_SIZE);
			return entry ? -COCONUT_E_EXISTS : -COCONUT_E_NOMEM;
		}
		set_entry(entry, rights ? (phys + at) | rights : 0);
		if (cap & CAP_CACHES_ABSENT) invalidate_translations(DROP_PAGE, domain, iova + at);
	}
	return 0;
}

/* Unmaps `pages` pages. When it returns, the device reaches none of them any more. */
void iommu_unmap(uint32_t domain, uint64_t iova, uint64_t pages) {
	for (uint64_t end = iova + pages * PAGE_SIZE; iova < end && !ABLATE(dma_unmap); iova += PAGE_SIZE) {
		uint64_t *entry = second_level(domains[domain].root, iova, false);
		if (!entry || !*entry) continue;
		set_entry(entry, 0);
		if (!ABLATE(dma_invalidate)) invalidate_translations(DROP_PAGE, domain, iova);
	}
}

/* Has the unit record what it refuses the domain's device, or refuse it in silence (FPD, 9.3). */
void iommu_report_faults(uint32_t domain, bool wanted) {
	uint64_t *context = context_table + 2 * (source_id(domains[domain].device) & 0xFF);

	set_entry(context, domains[domain].root | ENTRY_PRESENT | (wanted ? 0 : CONTEXT_SILENT));
	invalidate_domain(domain);
}

/* Notes for which shard (its slot, -1 for none) the domain's device works, for the reports of faults. */
void iommu_set_owner(uint32_t domain, int shard_id) { domains[domain].owner = shard_id; }

/* ---- Faults ---- */

/* Takes a fault record apart (10.4.14). */
static struct fault decode_fault(uint64_t low, uint64_t high) {
	struct fault fault = {.source = (uint16_t)high, .reason = (uint8_t)(high >> 32), .read = high & RECORD_READ};

	fault.address = fault.reason < FAULT_INTERRUPT ? low & ~PAGE_MASK : low >> 48;
	return fault;
}

/* Says in words why the unit refused (appendix A). */
static const char *fault_reason(uint8_t reason) {
	static const char *const words[] = {
		[1] = "no device of its bus has a domain", [2] = "the device has no domain",
		[4] = "the address is wider than its domain", [5] = "its domain does not map that page for writing",
		[6] = "its domain does not map that page for reading",
	};

	if (reason < ARRAY_LENGTH(words) && words[reason]) return words[reason];
	return reason < FAULT_INTERRUPT ? "the tables are damaged" : "that interrupt is not the device's";
}

/* Counts a fault against the domain that it happened in, and prints it unless too many were printed. */
static void report_fault(struct fault fault) {
	const struct pci_device *device;
	uint32_t owner = NOBODY;

	for (uint32_t i = 0; (device = device_at(i)) && source_id(device) != fault.source; i++)
		;
	for (uint32_t i = 0; device && i < DOMAINS; i++)
		if (domains[i].device == device) {
			domains[i].faulted = true;
			owner = domains[i].owner < 0 || ABLATE(flood) ? NOBODY : (uint32_t)domains[i].owner;
		}
	fault_count++;
	if (fault_lines[owner]++ >= FAULT_LINES && !verbose) return;
	print("DMA fault: %02x:%02x.%u (%s)", fault.source >> 8, fault.source >> 3 & 31, fault.source & 7,
	      device ? pci_class_name(device) : "unknown device");
	if (owner != NOBODY) print(", working for shard %u (%s),", owner, shards[owner].profile->name);
	print(" may not %s 0x%lx: %s (VT-d reason 0x%x)\n",
	      fault.reason >= FAULT_INTERRUPT ? "raise interrupt" : fault.read ? "read" : "write", fault.address,
	      fault_reason(fault.reason), fault.reason);
	if (fault_lines[owner] == FAULT_LINES && !verbose)
		print("DMA fault: any more of these are not shown without --verbose\n");
}

/* Takes all fault records; also the handler of the interrupt that announces them. The loss of some makes every domain
 * count as faulted: they may have been anybody's. */
static void collect_faults(void *unused) {
	(void)unused;
	while (REG32(REG_FAULT_STATUS) & FAULT_PENDING)
		for (uint32_t i = 0; i < CAP_FAULT_RECORDS(cap); i++) {
			uint32_t at = (uint32_t)CAP_FAULT_OFFSET(cap) + 16 * i;
			uint64_t low = REG64(at), high = REG64(at + 8);
			if (!(high & RECORD_VALID)) continue;
			REG32(at + 12) = RECORD_CLEAR;
			report_fault(decode_fault(low, high));
		}
	if (!(REG32(REG_FAULT_STATUS) & FAULT_OVERFLOW) || ABLATE(dma_overflow)) return;
	REG32(REG_FAULT_STATUS) = FAULT_OVERFLOW; /* until then the unit records nothing more */
	for (uint32_t i = 0; i < DOMAINS; i++)
		domains[i].faulted = true;
	if (overflow_count++ >= FAULT_LINES && !verbose) return;
	print("DMA fault: there were more than the IOMMU can record; every transfer under way counts as refused\n");
}

/* Returns whether the domain's device did something forbidden since the last time this was asked. */
bool iommu_faulted(uint32_t domain) {
	collect_faults(NULL); /* the record may be there before its interrupt */
	bool faulted = domains[domain].faulted;
	domains[domain].faulted = false;
	return faulted;
}

/* Prints what the run has seen, under verbose. */
void iommu_report(void) {
	if (translating)
		print_verbose("IOMMU: %u DMA faults recorded, records lost %u times\n", fault_count, overflow_count);
}

/* ---- Interrupts ---- */

/* Lets `device`, and no other, raise `vector`. Returns false where interrupts are not remapped; otherwise `*address`
 * and `*data` are the message that the device is to send. The vector is also the number of the table's entry. */
bool iommu_route(const struct pci_device *device, uint8_t vector, uint32_t *address, uint32_t *data) {
	if (!remapping) return false;
	uint64_t *entry = interrupt_table + 2 * vector;
	set_entry(entry + 1, ABLATE(interrupt_source) ? 0 : INTERRUPT_CHECK_SOURCE | source_id(device));
	set_entry(entry, ENTRY_PRESENT | (uint64_t)vector << 16 | (uint64_t)apic_id() << 40);
	invalidate(DROP_INTERRUPTS, 0);
	*address = MESSAGE_ADDRESS | (uint32_t)vector << MESSAGE_INDEX_SHIFT | MESSAGE_REMAPPABLE;
	*data = 0;
	return true;
}

/* Has the device's MSI call `handler` with `argument`, through interrupt remapping where it is on. Returns the
 * vector, or -COCONUT_E_NODEV when the device has no MSI, or -COCONUT_E_FULL. */
int msi_allocate(const struct pci_device *device, void (*handler)(void *), void *argument) {
	uint32_t address, data;

	if (!device->msi) return -COCONUT_E_NODEV;
	int vector = apic_handle(handler, argument);
	if (vector < 0) return vector;
	if (!iommu_route(device, (uint8_t)vector, &address, &data)) {
		address = MESSAGE_ADDRESS | (uint32_t)apic_id() << MESSAGE_ID_SHIFT;
		data = (uint32_t)vector;
	}
	pci_msi_enable(&pci_ports, device, address, (uint16_t)data);
	return vector;
}

/* ---- Set-up ---- */

/* Finds the machine's unit and maps its registers. Returns NULL, or in words why it cannot be used. */
static const char *find_unit(void) {
	struct acpi_drhd second;
	bool remaps;
	uint32_t len;
	const uint8_t *table = device_dmar(&len);

	if (!table) return "there is no DMAR table";
	if (!dmar_unit(table, len, &unit)) return "the DMAR table is damaged";
	acpi_dmar(table, len, &remaps);
	if (acpi_drhd(table, len, 1, &second)) return "there are several units, and this kernel drives one";
	registers = paging_map_device(unit.base, PAGE_SIZE);
	cap = REG64(REG_CAP);
	ecap = REG64(REG_ECAP) & ~(remaps ? 0UL : ECAP_INTERRUPTS);
	levels = cap & CAP_4_LEVELS ? 4 : cap & CAP_3_LEVELS ? 3 : 0;
	if (!levels || !(ecap & ECAP_QUEUE) || !(cap & CAP_PAGE_SELECTIVE) || cap & CAP_WRITE_BUFFERS || ~cap & CAP_DRAIN ||
	    CAP_FAULT_OFFSET(cap) + 16 * CAP_FAULT_RECORDS(cap) > PAGE_SIZE)
		return "it has no queue, no page-selective invalidation, no draining, unusual tables or registers, or write buffers";
	return NULL;
}

/* Gives the unit a command. Returns whether it was carried out. */
static bool command(uint32_t bit) {
	REG32(REG_COMMAND) = (REG32(REG_STATUS) & STATUS_LASTING) | bit;
	for (uint32_t i = 0; !(REG32(REG_STATUS) & bit); i++)
		if (i == PATIENCE) return false;
	return true;
}

/* Turns the unit on with empty tables: from now on every device is refused. Returns whether that worked. Faults are
 * announced by an interrupt that is not remapped, since it comes from the unit itself. */
static bool turn_on(void) {
	uint64_t root, contexts, queue_phys, interrupts;

	REG32(REG_COMMAND) = 0; /* whatever the firmware did with it */
	for (uint32_t i = 0; REG32(REG_STATUS) & (DO_TRANSLATE | DO_QUEUE) && i < PATIENCE; i++)
		;
	root_table = new_table(&root);
	context_table = new_table(&contexts);
	queue = new_table(&queue_phys);
	interrupt_table = new_table(&interrupts);
	if (!root_table || !context_table || !queue || !interrupt_table) return false;
	set_entry(root_table, contexts | ENTRY_PRESENT);
	REG32(REG_FAULT_DATA) = (uint32_t)apic_handle(collect_faults, NULL);
	REG64(REG_FAULT_ADDRESS) = MESSAGE_ADDRESS | (uint64_t)apic_id() << MESSAGE_ID_SHIFT;
	REG32(REG_FAULT_CONTROL) = 0;
	REG64(REG_QUEUE_TAIL) = 0;
	REG64(REG_QUEUE) = queue_phys;
	REG64(REG_ROOT) = root;
	if (!command(DO_QUEUE) || !command(DO_SET_ROOT)) return false;
	invalidate(DROP_CONTEXTS, 0);
	invalidate(DROP_TRANSLATIONS, 0);
	invalidate(DROP_INTERRUPTS, 0);
	REG64(REG_INTERRUPTS) = interrupts | 7; /* log2 of the number of entries, less 1: 256 fill the page */
	remapping = ecap & ECAP_INTERRUPTS && command(DO_SET_INTERRUPTS) && command(DO_REMAP_INTERRUPTS);
	return ABLATE(dma_translation) || command(DO_TRANSLATE);
}

/* Turns the IOMMU on, where there is one. The scan of the devices has taken all of them their DMA. */
void iommu_init(void) {
	const char *problem = find_unit();
	if (!problem && !turn_on()) problem = "it does not obey";
	translating = !problem;
	if (problem)
		print("IOMMU: none that can be used: %s; devices get no DMA\n", problem);
	else
		print("IOMMU: VT-d %u.%u, %d-level tables, translation %son\n", REG32(REG_VERSION) >> 4 & 15,
		      REG32(REG_VERSION) & 15, levels, remapping ? "and interrupt remapping " : "");
}
