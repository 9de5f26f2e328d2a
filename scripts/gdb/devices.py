"""devices.py: the command about the IOMMU. Read next: tours.py."""

import kernel
import words

ENTRY_PRESENT, READ, WRITE = 1, 1, 2  # VT-d 9.1, 9.8
ADDRESS = 0x000FFFFFFFFFF000


def mappings(root, levels, base=0):
    """Yields (device address, physical address, rights) of every page that a domain maps."""
    for index, entry in enumerate(kernel.read_table(root & ADDRESS)):
        address = base + (index << 12 + 9 * (levels - 1))
        if not entry & (READ | WRITE):
            continue
        if levels == 1:
            yield address, entry & ADDRESS, entry & (READ | WRITE)
        else:
            yield from mappings(entry, levels - 1, address)


def device_name(pointer):
    return "%02x:%02x.%d" % tuple(int(kernel.field(pointer.dereference(), name)) for name in ("bus", "dev", "fn"))


@kernel.command("iommu")
def iommu(_words):
    """Shows what the IOMMU lets devices reach: each domain, its device, the shard it works for, what it maps now.

A device without a domain reaches nothing. The mappings are read from the tables as the unit reads them."""
    if not int(kernel.variable("translating", "iommu.c")):
        return ["no IOMMU is in use: no device gets DMA"]
    levels = int(kernel.variable("levels", "iommu.c"))
    lines = ["translating, %d-level tables, interrupt remapping %s, %d faults recorded" % (
        levels, "on" if int(kernel.variable("remapping", "iommu.c")) else "off",
        int(kernel.variable("fault_count", "iommu.c")))]
    domains = kernel.variable("domains", "iommu.c")
    for number in range(kernel.length(domains)):
        domain = domains[number]
        if not int(kernel.field(domain, "device")):
            continue
        owner = int(kernel.field(domain, "owner"))
        lines.append("domain %d: device %s, tables at 0x%x, %s%s" % (
            number, device_name(domain["device"]), int(kernel.field(domain, "root")),
            "works for nobody" if owner < 0 else "works for shard %d (%s)" % (owner, kernel.name_of(owner)),
            ", did something forbidden" if int(kernel.field(domain, "faulted")) else ""))
        found = list(mappings(int(domain["root"]), levels))
        rows = [["0x%x" % address, "0x%x" % phys, {READ: "read", WRITE: "write", READ | WRITE: "read+write"}[rights]]
                for address, phys, rights in found]
        lines += ["  " + line for line in words.table(["device address", "physical", "the device may"],
                                                      rows)] if rows else [
            "  maps nothing now"]
    return lines
