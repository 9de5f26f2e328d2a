; head.asm: the boot sector of the second processor's disk: from the BIOS to the supervisor's firmware-less entry.
;
; machine.py assembles it and puts the supervisor's image and the ramdisk behind it. It defines ENTRY (pvh_start),
; IMAGE_BASE and IMAGE_SECTORS, RAMDISK_BASE, RAMDISK_SECTORS and RAMDISK_SIZE, and WORDS, the command line.
;   1. the BIOS's memory map becomes that of a start-info structure (see pvh.c)
;   2. 32-bit protected mode
;   3. the ACPI root pointer, which a BIOS leaves below 1 MiB
;   4. image and ramdisk are read from the disk
;   5. on to ENTRY with the start-info in ebx
; Read next: pvh.c, which finds the start-info.

SECTOR          equ 512
AT_ONCE         equ 128                         ; sectors that one command of the disk reads
REGIONS         equ 0x8000                      ; the memory map: base, length, type, a reserved word
REGION_SIZE     equ 24
ENTRY_SIZE      equ 20                          ; of INT 15h, AX=E820h: the same without the last word
SMAP            equ 0x534D4150
PVH_MAGIC       equ 0x336EC578
BIOS_AREA       equ 0xE0000                     ; ACPI 6.5, 5.2.5.1: the root pointer is in here, on a multiple of 16
BIOS_END        equ 0x100000
PORT_A20        equ 0x92
ATA             equ 0x1F0                       ; registers of the first disk: count +2, address +3 to +6, command +7
ATA_READ        equ 0x20
ATA_LBA         equ 0xE0
ATA_BUSY        equ 0x80
ATA_DATA        equ 0x08

        org 0x7C00
bits 16
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7C00
        mov     di, REGIONS                     ; 1.
        xor     ebx, ebx
.region:
        mov     eax, 0xE820
        mov     edx, SMAP
        mov     ecx, ENTRY_SIZE
        int     0x15
        jc      .mapped
        and     dword [di + ENTRY_SIZE], 0
        add     di, REGION_SIZE
        inc     byte [region_count]
        test    ebx, ebx
        jnz     .region
.mapped:
        cli                                     ; 2.
        in      al, PORT_A20
        or      al, 2
        out     PORT_A20, al
        lgdt    [gdt_pointer]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     8:protected
bits 32
protected:
        mov     ax, 16
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        cld
        mov     esi, BIOS_AREA - 16             ; 3.
.search:
        add     esi, 16
        cmp     esi, BIOS_END
        jae     .searched
        cmp     dword [esi], "RSD "
        jne     .search
        cmp     dword [esi + 4], "PTR "
        jne     .search
        mov     [rsdp], esi
.searched:
        mov     ebx, 1                          ; 4. the sector that is read next
        mov     edi, IMAGE_BASE
        mov     ebp, IMAGE_SECTORS
        call    read
        mov     edi, RAMDISK_BASE
        mov     ebp, RAMDISK_SECTORS
        call    read
        mov     ebx, start_info                 ; 5.
        mov     eax, ENTRY
        jmp     eax

; Reads ebp sectors from sector ebx on to edi, and moves ebx and edi on.
read:
        mov     ecx, AT_ONCE
        cmp     ecx, ebp
        jbe     .command
        mov     ecx, ebp
.command:
        sub     ebp, ecx
        mov     edx, ATA + 2
        mov     al, cl
        out     dx, al
        inc     edx
        mov     eax, ebx
        out     dx, al
        inc     edx
        shr     eax, 8
        out     dx, al
        inc     edx
        shr     eax, 8
        out     dx, al
        inc     edx
        mov     al, ATA_LBA
        out     dx, al
        inc     edx
        mov     al, ATA_READ
        out     dx, al
        add     ebx, ecx
.sector:
        in      al, dx
        and     al, ATA_BUSY + ATA_DATA
        cmp     al, ATA_DATA
        jne     .sector
        push    ecx
        push    edx
        mov     ecx, SECTOR / 2
        mov     edx, ATA
        rep     insw
        pop     edx
        pop     ecx
        loop    .sector
        test    ebp, ebp
        jnz     read
        ret

        align 8
gdt:    dq      0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF
gdt_pointer:
        dw      $ - gdt - 1
        dd      gdt

        align 8
start_info:
        dd      PVH_MAGIC, 1, 0, 1              ; magic, version, flags, modules
        dq      module, words
rsdp:   dq      0
        dq      REGIONS
region_count:
        dd      0, 0
module: dq      RAMDISK_BASE, RAMDISK_SIZE, 0, 0
words:  db      WORDS, 0

        times SECTOR - 2 - ($ - $$) db 0
        dw      0xAA55
